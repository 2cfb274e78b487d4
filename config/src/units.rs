//! Units people write in a configuration: durations such as `30s` and sizes such as `64KiB`.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What is wrong with a duration or a size, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl UnitError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A length of time. Written as a whole number and a unit (`500ms`, `30s`, `5m`, `1h`, `1d`), or as
/// a plain number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(std::time::Duration);

/// Units of time, smallest first, in microseconds.
const TIME_UNITS: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

impl Duration {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-duration";

    /// A duration of `seconds` seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// A duration of `millis` milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// The same duration in the standard library's type.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Reads a plain number of seconds.
    ///
    /// # Errors
    /// When the number is negative, not finite, or too large to be a duration.
    pub fn from_seconds(seconds: f64) -> Result<Self, UnitError> {
        std::time::Duration::try_from_secs_f64(seconds)
            .map(Self)
            .map_err(|_| UnitError(format!("`{seconds}` seconds is not a duration")))
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let micros = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, micros)| *micros);
        let (Some(micros), Ok(number)) = (micros, number.parse::<u64>()) else {
            return Err(UnitError("expected a duration such as `500ms`, `30s`, `5m` or `1h`".into()));
        };
        number
            .checked_mul(micros)
            .map(|micros| Self(std::time::Duration::from_micros(micros)))
            .ok_or_else(|| UnitError("the duration is too long".into()))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let exact = |unit: &&(&str, u64)| micros.is_multiple_of(u128::from(unit.1));
        match TIME_UNITS.iter().rev().find(exact) {
            Some((unit, size)) if micros > 0 => write!(f, "{}{unit}", micros / u128::from(*size)),
            _ => f.write_str("0s"),
        }
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Whole(seconds) => Ok(Self::seconds(seconds)),
            NumberOrText::Fraction(seconds) => Self::from_seconds(seconds).map_err(de::Error::custom),
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A whole number and a unit (us, ms, s, m, h, d), or a plain number of seconds.",
            "type": ["string", "number"],
            "format": Self::FORMAT,
            "pattern": "^[0-9]+(us|ms|s|m|h|d)$",
            // A wait of nothing, or of more than a year, is a slip of the pen. Fields for which zero
            // has a meaning lower the minimum.
            "minimum": 0.001,
            "maximum": 31_536_000,
        })
    }
}

/// A number of bytes. Written as a plain integer, or with a unit: `512B`, `64KiB`, `4MiB`, `1GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// Units of size, smallest first.
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl ByteSize {
    /// The schema format that the walker knows this type by.
    pub(crate) const FORMAT: &'static str = "prism-size";

    /// A size of `bytes` bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of `kib` times 1,024 bytes.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// A size of `mib` times 1,048,576 bytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The size in bytes, for HTTP/2 settings; sizes that do not fit become `u32::MAX`.
    #[must_use]
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// The size in bytes, for memory; sizes that do not fit become `usize::MAX`.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let size = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, size)| *size);
        let (Some(size), Ok(number)) = (size, number.parse::<u64>()) else {
            return Err(UnitError("expected a size such as `16384`, `64KiB` or `4MiB`".into()));
        };
        number.checked_mul(size).map(Self).ok_or_else(|| UnitError("the size is too large".into()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().rev().find(|(_, size)| self.0.is_multiple_of(*size)) {
            Some((unit, size)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / size),
            _ => f.write_str("0B"),
        }
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Whole(bytes) => Ok(Self(bytes)),
            NumberOrText::Fraction(_) => Err(de::Error::custom("expected a whole number of bytes")),
            NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, or a number with a unit (B, KiB, MiB, GiB).",
            "type": ["string", "integer"],
            "format": Self::FORMAT,
            "pattern": "^[0-9]+(B|KiB|MiB|GiB)$",
            "minimum": 1,
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

/// Splits `30s` into `30` and `s`. Only digits count as the number: no sign, no exponent.
fn split(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis, canonical) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("60s", 60_000, "1m"),
            ("1m", 60_000, "1m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0s"),
            ("2000us", 2, "2ms"),
            ("7d", 604_800_000, "7d"),
        ] {
            let read: Duration = text.parse().unwrap();
            assert_eq!(read, Duration::millis(millis), "{text}");
            assert_eq!(read.to_string(), canonical);
        }
        assert_eq!(serde_json::from_str::<Duration>("1.5").unwrap(), Duration::millis(1500));
        assert_eq!(serde_json::from_str::<Duration>("2").unwrap(), Duration::seconds(2));
    }

    #[test]
    fn wrong_durations_are_refused() {
        for text in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "+1s",
            "1.5s",
            "1e3s",
            "1m30s",
            "30S",
            "99999999999999999999s",
            "300000000000d",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        for json in ["-1", "-0.5", "1e300", "null", "[]", "true"] {
            assert!(serde_json::from_str::<Duration>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in
            [("512B", 512), ("64KiB", 65_536), ("4MiB", 4 << 20), ("1GiB", 1 << 30), ("0B", 0)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().get(), bytes, "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("16384").unwrap(), ByteSize::kib(16));
        assert_eq!(ByteSize::mib(4).to_string(), "4MiB");
        assert_eq!(ByteSize::bytes(1000).to_string(), "1000B");
        assert_eq!(ByteSize::bytes(u64::MAX).as_u32(), u32::MAX);
    }

    #[test]
    fn wrong_sizes_are_refused() {
        for text in
            ["", "64", "64KB", "64kib", "64 KiB", "-1B", "1.5MiB", "99999999999999999999B", "99999999999GiB"]
        {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for json in ["-1", "0.5", "null", "{}"] {
            assert!(serde_json::from_str::<ByteSize>(json).is_err(), "{json}");
        }
    }
}
