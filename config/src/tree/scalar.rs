//! What a scalar means: YAML's core schema (YAML 1.2.2, section 10.3.2).

use saphyr_parser::ScalarStyle;

use super::NodeValue;

/// Why a scalar is no value of a configuration, and what to do about it.
pub(super) type Refusal = (&'static str, Option<&'static str>);

/// The value of a scalar's text. Only a plain one can be anything but a string.
///
/// A number must not silently lose digits, so an integer is read as one or refused, never rounded.
pub(super) fn resolve(text: &str, style: ScalarStyle) -> Result<NodeValue, Refusal> {
    if style != ScalarStyle::Plain {
        return Ok(NodeValue::String(text.to_owned()));
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(NodeValue::Null),
        "true" | "True" | "TRUE" => return Ok(NodeValue::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(NodeValue::Bool(false)),
        _ => {}
    }
    if let Some((radix, digits)) = integer(text) {
        let negative = text.starts_with('-');
        let sized = u64::from_str_radix(digits, radix).ok().and_then(|magnitude| sized(negative, magnitude));
        return sized.ok_or(("the integer does not fit 64 bits", Some("put it in quotes if it is a text")));
    }
    match float(text) {
        Some(value) if value.is_finite() => Ok(NodeValue::Float(value)),
        Some(_) => Err(("the number is not finite", None)),
        None => Ok(NodeValue::String(text.to_owned())),
    }
}

/// The radix and the digits of an integer. Only a decimal one may have a sign.
fn integer(text: &str) -> Option<(u32, &str)> {
    let (radix, digits) = if let Some(digits) = text.strip_prefix("0x") {
        (16, digits)
    } else if let Some(digits) = text.strip_prefix("0o") {
        (8, digits)
    } else {
        (10, unsigned(text))
    };
    (!digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix))).then_some((radix, digits))
}

fn sized(negative: bool, magnitude: u64) -> Option<NodeValue> {
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(NodeValue::Int);
    }
    Some(i64::try_from(magnitude).map_or(NodeValue::Uint(magnitude), NodeValue::Int))
}

fn float(text: &str) -> Option<f64> {
    match unsigned(text) {
        ".inf" | ".Inf" | ".INF" => Some(f64::INFINITY),
        _ if matches!(text, ".nan" | ".NaN" | ".NAN") => Some(f64::NAN),
        // Rust's numbers are YAML's but for words such as `inf`.
        number if number.starts_with(|c: char| c.is_ascii_digit() || c == '.') => text.parse().ok(),
        _ => None,
    }
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Result<NodeValue, &'static str> {
        resolve(text, ScalarStyle::Plain).map_err(|(message, _)| message)
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("0", 0),
            ("-0", 0),
            ("+7", 7),
            ("017", 17),
            ("0o17", 15),
            ("0x1f", 31),
            ("0xFF", 255),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(plain(text), Ok(NodeValue::Int(value)), "{text}");
        }
        for text in ["18446744073709551615", "0xffffffffffffffff"] {
            assert_eq!(plain(text), Ok(NodeValue::Uint(u64::MAX)), "{text}");
        }
        for (text, value) in
            [("1.5", 1.5), ("-1.5", -1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1e3), ("+1.0E-2", 0.01)]
        {
            assert_eq!(plain(text), Ok(NodeValue::Float(value)), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_refused() {
        for text in ["18446744073709551616", "-9223372036854775809", "0x10000000000000000"] {
            assert_eq!(plain(text), Err("the integer does not fit 64 bits"), "{text}");
        }
        for text in [".inf", "-.Inf", "+.INF", ".nan", ".NaN", "1e999", "-1e999"] {
            assert_eq!(plain(text), Err("the number is not finite"), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "yes", "no", "on", "TRue", "nULL", "inf", "nan", "NaN", "-.nan", "infinity", "0x", "0o", "0o8",
            "0xg", "-0x1", "0x-1", "+-1", "+", "-", ".", "..", "1_000", "1.2.3", "1e", "e5", "12:30", "0b1",
            "٣", "1 2", ".e5",
        ] {
            assert_eq!(plain(text), Ok(NodeValue::String(text.into())), "{text}");
        }
        for style in [ScalarStyle::SingleQuoted, ScalarStyle::DoubleQuoted, ScalarStyle::Literal] {
            for text in ["", "1", "null", "true", ".inf"] {
                assert_eq!(resolve(text, style), Ok(NodeValue::String(text.into())), "{text}");
            }
        }
    }
}
