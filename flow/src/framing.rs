//! Checksummed frames in an append-only file: the collector's spool and the aggregator's log.
//!
//! A frame is a header of 12 bytes (length and CRC-32 of the payload, CRC-32 of these eight bytes; little endian) and
//! the payload. The header has its own checksum, so that a damaged length cannot be mistaken for a torn tail.

use bytes::Bytes;

/// Length of a frame's header.
const HEADER: usize = 12;

/// Appends a frame to `out`.
///
/// # Panics
/// If the payload has 4 GiB or more: callers bound it by [`crate::columns::MAX_FRAME_BYTES`].
pub fn write(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded by the largest message");
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// What lies at an offset of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame: its payload, and where the next one begins.
    Frame(Bytes, usize),
    /// The end.
    End,
    /// The last write was cut off by a crash: nothing whole follows.
    Torn,
    /// A whole frame whose payload is damaged, and where the next one begins.
    Damaged(usize),
    /// A damaged header: what follows cannot be found.
    Lost,
}

/// Looks at `offset`.
pub fn read(file: &Bytes, offset: usize) -> Found {
    let rest = file.len() - offset;
    if rest == 0 {
        return Found::End;
    }
    // A crash leaves a prefix of a frame, or zeros where blocks were allocated and not yet written.
    if rest < HEADER || file[offset..].iter().all(|byte| *byte == 0) {
        return Found::Torn;
    }
    let word = |at: usize| {
        let at = offset + at;
        u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]])
    };
    if crc32fast::hash(&file[offset..offset + 8]) != word(8) {
        return Found::Lost;
    }
    let start = offset + HEADER;
    let end = start + word(0) as usize;
    if end > file.len() {
        return Found::Torn;
    }
    let payload = file.slice(start..end);
    if crc32fast::hash(&payload) == word(4) {
        Found::Frame(payload, end)
    } else if end == file.len() {
        Found::Torn
    } else {
        Found::Damaged(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, b"one");
        write(&mut out, b"three");
        out
    }

    #[test]
    fn frames_are_read_back_in_order() {
        let file = Bytes::from(file());
        let Found::Frame(one, next) = read(&file, 0) else {
            panic!("no frame");
        };
        let Found::Frame(three, end) = read(&file, next) else {
            panic!("no frame");
        };
        assert_eq!((&one[..], &three[..]), (&b"one"[..], &b"three"[..]));
        assert_eq!(read(&file, end), Found::End);
    }

    #[test]
    fn a_file_cut_anywhere_ends_torn_behind_its_whole_frames() {
        let whole = file();
        for length in 16..whole.len() {
            let cut = Bytes::copy_from_slice(&whole[..length]);
            assert_eq!(read(&cut, 15), Found::Torn, "at {length}");
        }
        let mut zeros = whole[..15].to_vec();
        zeros.extend_from_slice(&[0; 100]);
        assert_eq!(read(&zeros.into(), 15), Found::Torn);
    }

    #[test]
    fn damage_before_the_end_is_not_mistaken_for_a_torn_tail() {
        let mut payload = file();
        payload[13] ^= 1;
        assert_eq!(read(&payload.into(), 0), Found::Damaged(15));
        let mut header = file();
        header[0] ^= 1;
        assert_eq!(read(&header.into(), 0), Found::Lost);
    }
}
