//! `google.protobuf.Timestamp`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// `google.protobuf.Timestamp`: a moment, UTC. In JSON it is RFC 3339 with a `Z` and no, three, six or nine digits
/// after the second.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds of the second, 0 to 999 999 999, also before the epoch.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !(0..1_000_000_000).contains(&self.nanos) {
            return Err(ser::Error::custom(format!(
                "timestamp with {} nanoseconds",
                self.nanos
            )));
        }
        let moment = jiff::Timestamp::new(self.seconds, self.nanos).map_err(ser::Error::custom)?;
        let digits = match self.nanos {
            0 => 0,
            nanos if nanos % 1_000_000 == 0 => 3,
            nanos if nanos % 1_000 == 0 => 6,
            _ => 9,
        };
        serializer.collect_str(&format_args!("{moment:.digits$}"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: jiff::Timestamp = text.parse().map_err(de::Error::custom)?;
        let nanos = moment.as_nanosecond();
        let (seconds, nanos) = (
            nanos.div_euclid(1_000_000_000),
            nanos.rem_euclid(1_000_000_000),
        );
        Ok(Self {
            seconds: seconds.try_into().map_err(de::Error::custom)?,
            nanos: nanos.try_into().map_err(de::Error::custom)?,
        })
    }
}
