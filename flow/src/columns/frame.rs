//! A batch as bytes: the same bytes lie in the collector's spool, go over Flight and lie in the aggregator's log.
//!
//! A frame is the part of an [Arrow IPC stream] behind the schema: dictionary messages, then one record batch. With
//! the schema message in front it is a stream that any Arrow reader reads. Frames are self-contained; the schema is
//! not in them, because it is the same for all frames of a version.
//!
//! [Arrow IPC stream]: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
    write_message,
};
use arrow_ipc::{MessageHeader, MetadataVersion};
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;

use super::error::ColumnsError;
use super::schema::{SCHEMA_VERSION, VERSION_KEY, schema};

/// Begin of every message.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// Continuation marker and length of the header.
const PREFIX: usize = 8;
/// Messages and buffers are padded to this; 64 would double the size of a small batch.
const ALIGNMENT: usize = 8;

/// The largest frame that is read.
pub const MAX_FRAME_BYTES: usize = 64 << 20;

/// Writes and reads frames. Keep one: its buffers are reused.
pub struct Codec {
    /// The schema with the numbers of its dictionaries, as a reader gets it.
    schema: SchemaRef,
    schema_message: Bytes,
    options: IpcWriteOptions,
    context: IpcWriteContext,
}

/// One message of a frame, as Flight carries it.
#[derive(Clone, Debug)]
pub struct Message {
    /// The message's flatbuffer.
    pub header: Bytes,
    /// Its buffers.
    pub body: Bytes,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl Codec {
    /// A codec for the columns of this build.
    pub fn new() -> Result<Self, ColumnsError> {
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)
            .map_err(ColumnsError::Build)?;
        let message = IpcDataGenerator {}
            .schema_to_bytes_with_dictionary_tracker(
                &schema(),
                &mut DictionaryTracker::new(false),
                &options,
            )
            .ipc_message;
        let schema = Arc::new(parse_schema(&message)?);
        Ok(Self {
            schema,
            schema_message: message.into(),
            options,
            context: IpcWriteContext::default(),
        })
    }

    /// The schema message that a Flight stream begins with.
    pub fn schema_message(&self) -> Bytes {
        self.schema_message.clone()
    }

    /// Checks a peer's schema message: this build reads its own version only.
    pub fn check_schema(&self, message: &[u8]) -> Result<(), ColumnsError> {
        let theirs = parse_schema(message)?;
        if theirs.fields == self.schema.fields {
            return Ok(());
        }
        let found = theirs.metadata.get(VERSION_KEY).cloned();
        Err(ColumnsError::Version {
            found: found.unwrap_or_default(),
            expected: SCHEMA_VERSION,
        })
    }

    /// A batch as a frame.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ColumnsError> {
        let generator = IpcDataGenerator {};
        // A new tracker per frame: every frame brings its dictionaries, so that each can be read alone.
        let mut tracker = DictionaryTracker::new(false);
        generator.schema_to_bytes_with_dictionary_tracker(
            &batch.schema(),
            &mut tracker,
            &self.options,
        );
        let (dictionaries, batch) = generator
            .encode(batch, &mut tracker, &self.options, &mut self.context)
            .map_err(ColumnsError::Build)?;
        let mut frame = Vec::new();
        for message in dictionaries.into_iter().chain([batch]) {
            write_message(&mut frame, message, &self.options).map_err(ColumnsError::Build)?;
        }
        Ok(frame)
    }

    /// Appends a message to a frame in the making, as [`Codec::messages`] splits it.
    pub fn append(
        &self,
        frame: &mut Vec<u8>,
        header: &[u8],
        body: &[u8],
    ) -> Result<(), ColumnsError> {
        let message = EncodedData {
            ipc_message: header.to_vec(),
            arrow_data: body.to_vec(),
        };
        write_message(frame, message, &self.options)
            .map(|_| ())
            .map_err(ColumnsError::Build)
    }

    /// Reads a frame. A frame that is not one gives an error, whatever its bytes are.
    pub fn decode(&self, frame: &Bytes) -> Result<RecordBatch, ColumnsError> {
        // The reader checks the messages, yet slices buffers by the offsets they give: those may be out of bounds.
        catch_unwind(AssertUnwindSafe(|| self.read(frame)))
            .unwrap_or_else(|_| Err(bad(frame, 0, "a buffer lies outside of its message")))
    }

    fn read(&self, frame: &Bytes) -> Result<RecordBatch, ColumnsError> {
        let mut dictionaries = HashMap::new();
        let mut offset = 0;
        while offset < frame.len() {
            let (message, next) = split(frame, offset)?;
            let at = |error: &dyn std::fmt::Display| bad(frame, offset, &error.to_string());
            let parsed = arrow_ipc::root_as_message(&message.header).map_err(|error| at(&error))?;
            let body = Buffer::from(message.body);
            if let Some(dictionary) = parsed.header_as_dictionary_batch() {
                if dictionary.data().is_none() {
                    return Err(at(&"a dictionary without values"));
                }
                arrow_ipc::reader::read_dictionary(
                    &body,
                    dictionary,
                    &self.schema,
                    &mut dictionaries,
                    &parsed.version(),
                )
                .map_err(|error| at(&error))?;
            } else if let Some(batch) = parsed.header_as_record_batch() {
                let schema = self.schema.clone();
                return arrow_ipc::reader::read_record_batch(
                    &body,
                    batch,
                    schema,
                    &dictionaries,
                    None,
                    &parsed.version(),
                )
                .map_err(|error| at(&error));
            } else {
                return Err(at(&"neither a dictionary nor a record batch"));
            }
            offset = next;
        }
        Err(bad(frame, offset, "no record batch"))
    }

    /// A frame for a file: compressed, about a tenth of its size.
    pub fn pack(frame: &[u8]) -> Vec<u8> {
        lz4_flex::compress_prepend_size(frame)
    }

    /// The frame that [`Codec::pack`] packed.
    ///
    /// # Errors
    /// It is damaged, or states a size above [`MAX_FRAME_BYTES`].
    pub fn unpack(packed: &[u8]) -> Result<Bytes, ColumnsError> {
        let bad = |what: &str| ColumnsError::Frame {
            length: packed.len(),
            offset: 0,
            what: what.to_owned(),
        };
        let (size, data) =
            lz4_flex::block::uncompressed_size(packed).map_err(|error| bad(&error.to_string()))?;
        if size > MAX_FRAME_BYTES {
            return Err(bad(&format!("states a size of {size} bytes")));
        }
        lz4_flex::decompress(data, size)
            .map(Bytes::from)
            .map_err(|error| bad(&error.to_string()))
    }

    /// The messages of a frame, without copying it.
    pub fn messages(frame: &Bytes) -> Result<Vec<Message>, ColumnsError> {
        let mut messages = Vec::new();
        let mut offset = 0;
        while offset < frame.len() {
            let (message, next) = split(frame, offset)?;
            messages.push(message);
            offset = next;
        }
        Ok(messages)
    }
}

impl Message {
    /// True if this message completes a frame.
    pub fn is_batch(header: &[u8]) -> bool {
        arrow_ipc::root_as_message(header)
            .is_ok_and(|message| message.header_type() == MessageHeader::RecordBatch)
    }
}

fn parse_schema(message: &[u8]) -> Result<Schema, ColumnsError> {
    let at = |what: &str| ColumnsError::Frame {
        length: message.len(),
        offset: 0,
        what: what.to_owned(),
    };
    let parsed = arrow_ipc::root_as_message(message).map_err(|error| at(&error.to_string()))?;
    let schema = parsed
        .header_as_schema()
        .ok_or_else(|| at("not a schema message"))?;
    Ok(arrow_ipc::convert::fb_to_schema(schema))
}

/// The message at `offset` and where the next one begins.
fn split(frame: &Bytes, offset: usize) -> Result<(Message, usize), ColumnsError> {
    let prefix = frame
        .get(offset..offset + PREFIX)
        .filter(|prefix| prefix.starts_with(&CONTINUATION))
        .ok_or_else(|| bad(frame, offset, "no message begins here"))?;
    let header_length = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
    let header_start = offset + PREFIX;
    let body_start = header_start + header_length;
    if body_start > frame.len() {
        return Err(bad(frame, offset, "the header is cut off"));
    }
    let header = frame.slice(header_start..body_start);
    let body_length = arrow_ipc::root_as_message(&header)
        .map_err(|error| bad(frame, offset, &error.to_string()))?
        .bodyLength();
    let end = usize::try_from(body_length)
        .ok()
        .and_then(|length| body_start.checked_add(length))
        .filter(|end| *end <= frame.len())
        .ok_or_else(|| bad(frame, offset, "the body is cut off"))?;
    let body = frame.slice(body_start..end);
    Ok((Message { header, body }, end))
}

fn bad(frame: &Bytes, offset: usize, what: &str) -> ColumnsError {
    ColumnsError::Frame {
        length: frame.len(),
        offset,
        what: what.to_owned(),
    }
}
