//! Amounts of resources: `500m`, `1Gi`, `1e3` (k8s.io/apimachinery/pkg/api/resource `Quantity`). Held as a whole
//! number of billionths in 128 bits; smaller amounts round up, as upstream's do.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// Billionths in one.
const NANOS: i128 = 1_000_000_000;
/// Longest text that is read; the grammar alone would allow endless zeros.
const TEXT_BYTES_MAX: usize = 512;

/// What is wrong with a quantity's text, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is none.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Family of suffixes, kept through arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`.
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// `e3`.
    DecimalExponent,
}

/// An amount. Equality and order are those of the amount; the suffix family is only about writing.
#[derive(Debug, Clone)]
pub struct Quantity {
    nanos: i128,
    format: Format,
    /// The text that was read, where upstream keeps it instead of writing the amount anew.
    text: Option<Box<str>>,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi, text: None };

    /// So many units.
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format, text: None }
    }

    /// So many thousandths.
    pub fn from_milli(value: i64) -> Self {
        Self { nanos: i128::from(value) * (NANOS / 1000), format: Format::DecimalSi, text: None }
    }

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let suffix = suffix(parts.suffix)?;
        let digits = || parts.whole.bytes().chain(parts.fraction.bytes());
        let kept = parts.keeps_its_text(suffix).then(|| text.into());
        let mut nanos = 0i128;
        for digit in digits() {
            nanos = nanos.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        let places = i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
        let (format, exact) = match suffix {
            Suffix::Decimal(exponent, format) => {
                (format, scale(nanos, exponent.saturating_add(9).saturating_sub(places)))
            }
            Suffix::Binary(shift) => {
                let shifted = nanos.checked_mul(1 << shift).unwrap_or(i128::MAX);
                // 2^shift·10^9 may overflow where 2^shift alone does not; the cap below makes that harmless.
                let nanos = scale(shifted, 9i32.saturating_sub(places)).min(i128::from(i64::MAX) * NANOS);
                let format = if nanos > 0 && nanos < NANOS { Format::DecimalSi } else { Format::BinarySi };
                (format, nanos)
            }
        };
        let nanos = if parts.negative { -exact } else { exact };
        Ok(Self { nanos, format, text: kept })
    }

    /// Reads a quantity as it stands in an object: text or a number; null is zero.
    pub fn from_value(value: &Value) -> Result<Self, QuantityError> {
        match value {
            Value::Null => Ok(Self::ZERO),
            Value::String(text) => Self::parse(text.trim()),
            Value::Number(number) => Self::parse(&number_text(number)),
            _ => Err(QuantityError::Format),
        }
    }

    /// Reads one out of an object; absent or unreadable is zero.
    pub fn of(value: Option<&Value>) -> Self {
        value.and_then(|value| Self::from_value(value).ok()).unwrap_or(Self::ZERO)
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Units, rounded up (away from zero), capped at 64 bits.
    pub fn value(&self) -> i64 {
        self.scaled_up(NANOS)
    }

    /// Thousandths, rounded up, capped at 64 bits.
    pub fn milli_value(&self) -> i64 {
        self.scaled_up(NANOS / 1000)
    }

    /// Billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// Suffix family.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Units as a floating-point number.
    pub fn approximate(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    fn scaled_up(&self, unit: i128) -> i64 {
        let magnitude = self.nanos.unsigned_abs().div_ceil(unit.unsigned_abs());
        let capped = i64::try_from(magnitude).unwrap_or(i64::MAX);
        if self.nanos < 0 { -capped } else { capped }
    }

    /// Adds; the suffix family is the first operand's, unless that is zero.
    pub fn add(&mut self, other: &Quantity) {
        self.combine(other, other.nanos);
    }

    /// Subtracts.
    pub fn sub(&mut self, other: &Quantity) {
        self.combine(other, -other.nanos);
    }

    fn combine(&mut self, other: &Quantity, nanos: i128) {
        if self.nanos == 0 {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(nanos);
        self.text = None;
    }

    /// Multiplies.
    pub fn mul(&mut self, factor: i64) {
        self.nanos = self.nanos.saturating_mul(i128::from(factor));
        self.text = None;
    }

    /// The opposite.
    pub fn neg(&mut self) {
        self.nanos = self.nanos.saturating_neg();
        self.text = None;
    }
}

/// The canonical text of a quantity: `1024Mi` → `1Gi`, `0.5` → `500m`.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    Quantity::parse(text).map(|quantity| quantity.to_string())
}

/// A number as upstream's decoder would have seen it in the document.
fn number_text(number: &serde_json::Number) -> String {
    match (number.as_i64(), number.as_f64()) {
        (None, Some(float)) if float.fract() == 0.0 && float.abs() < 1e18 => format!("{float:.0}"),
        (None, Some(float)) => format!("{float}"),
        _ => number.to_string(),
    }
}

/// `number` × 10^`exponent`, rounded up; capped.
fn scale(number: i128, exponent: i32) -> i128 {
    if number == 0 {
        return 0;
    }
    match u32::try_from(exponent) {
        Ok(up) => 10i128.checked_pow(up).and_then(|factor| number.checked_mul(factor)).unwrap_or(i128::MAX),
        Err(_) => match 10i128.checked_pow(exponent.unsigned_abs()) {
            Some(divisor) => number / divisor + i128::from(number % divisor != 0),
            None => 1,
        },
    }
}

#[derive(Clone, Copy)]
enum Suffix {
    /// Power of ten.
    Decimal(i32, Format),
    /// Power of two.
    Binary(u32),
}

fn suffix(text: &str) -> Result<Suffix, QuantityError> {
    let si = |exponent| Ok(Suffix::Decimal(exponent, Format::DecimalSi));
    match text {
        "n" => si(-9),
        "u" => si(-6),
        "m" => si(-3),
        "" => si(0),
        "k" => si(3),
        "M" => si(6),
        "G" => si(9),
        "T" => si(12),
        "P" => si(15),
        "E" => si(18),
        "Ki" => Ok(Suffix::Binary(10)),
        "Mi" => Ok(Suffix::Binary(20)),
        "Gi" => Ok(Suffix::Binary(30)),
        "Ti" => Ok(Suffix::Binary(40)),
        "Pi" => Ok(Suffix::Binary(50)),
        "Ei" => Ok(Suffix::Binary(60)),
        _ => {
            let exponent = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i64 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            let exponent = exponent.clamp(-100_000, 100_000) as i32;
            Ok(Suffix::Decimal(exponent, Format::DecimalExponent))
        }
    }
}

/// A text taken apart: sign, digits before and after the point (leading zeros stripped), suffix.
struct Parts<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    suffix: &'t str,
}

impl Parts<'_> {
    /// Upstream keeps the text it read when its fast path finds it canonical already.
    fn keeps_its_text(&self, suffix: Suffix) -> bool {
        let (whole, fraction) = (self.whole, self.fraction);
        let places = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
        let digits = i64::try_from(whole.len() + fraction.len()).unwrap_or(i64::MAX);
        match suffix {
            Suffix::Decimal(exponent, _) => {
                let scale = i64::from(exponent) - places;
                let all = [whole, fraction].concat();
                digits <= 18
                    && scale >= -9
                    && scale % 3 == 0
                    && !all.ends_with("000")
                    && !all.starts_with('0')
            }
            Suffix::Binary(shift) => {
                let odd = whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
                odd && places == 0 && 15 - digits - i64::from(shift) * 3 / 10 > 0
            }
        }
    }
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = unsigned.trim_start_matches('0');
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = number.split_at(digits(number));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let letters = rest.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
    let exponent = &rest[letters..];
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits(exponent) != exponent.len() {
        return Err(QuantityError::Format);
    }
    // Upstream's scanner lets a text without any digit through to the number parser when a point or suffix follows.
    let digitless = whole.is_empty() && fraction.is_empty() && number.len() == unsigned.len();
    if digitless && !unsigned.is_empty() {
        return Err(QuantityError::Numeric);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Parts { negative, whole, fraction, suffix: rest })
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text {
            return formatter.write_str(text);
        }
        if self.nanos == 0 {
            return formatter.write_str("0");
        }
        let whole = self.nanos % NANOS == 0;
        if self.format == Format::BinarySi && whole && self.nanos.abs() >= 1024 * NANOS {
            let mut amount = self.nanos / NANOS;
            let mut power = 0;
            while amount % 1024 == 0 && power < 6 {
                amount /= 1024;
                power += 1;
            }
            return write!(formatter, "{amount}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut amount, mut exponent) = (self.nanos, -9i32);
        while amount % 1000 == 0 && (exponent < 18 || self.format == Format::DecimalExponent) {
            amount /= 1000;
            exponent += 3;
        }
        match (self.format, exponent) {
            (Format::DecimalExponent, 0) => write!(formatter, "{amount}"),
            (Format::DecimalExponent, _) => write!(formatter, "{amount}e{exponent}"),
            _ => {
                let index = usize::try_from((exponent + 9) / 3).unwrap_or_default();
                write!(formatter, "{amount}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][index])
            }
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn canonical_texts() {
        let table = [
            ("0", "0"),
            ("0Mi", "0"),
            ("-0", "0"),
            ("1", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.", "1."),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("1.5", "1500m"),
            ("2000", "2k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512Mi", "512Mi"),
            ("0.5Ki", "512"),
            ("1000Ki", "1000Ki"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("10e2", "1e3"),
            ("1E", "1E"),
            ("12e6", "12e6"),
            ("1.1n", "2n"),
            ("0.0000000001", "1n"),
            ("-1.5", "-1500m"),
            ("3.001n", "4n"),
            ("0.000000000001Ki", "2n"),
            ("7.5Ki", "7680"),
            ("123456789", "123456789"),
            ("10Ei", "9223372036854775807"),
            ("1000000k", "1G"),
            ("1.500", "1.500"),
        ];
        for (text, expected) in table {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors() {
        let table = [
            ("", QuantityError::Format),
            ("1x", QuantityError::Format),
            ("1 Gi", QuantityError::Format),
            ("1gb", QuantityError::Format),
            ("abc", QuantityError::Format),
            ("1GiB", QuantityError::Format),
            ("1K", QuantityError::Suffix),
            ("1mi", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            (".", QuantityError::Numeric),
            ("1.2.3", QuantityError::Format),
        ];
        for (text, expected) in table {
            assert_eq!(Quantity::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn values() {
        let quantity = |text| Quantity::parse(text).unwrap();
        assert_eq!(quantity("1500m").value(), 2);
        assert_eq!(quantity("-1500m").value(), -2);
        assert_eq!(quantity("1500u").milli_value(), 2);
        assert_eq!(quantity("9E").milli_value(), i64::MAX);
        assert!(quantity("1000Mi") < quantity("1Gi"));
        assert_eq!(quantity("1k"), quantity("1e3"));
        let mut sum = quantity("0");
        sum.add(&quantity("1Gi"));
        sum.add(&quantity("1Gi"));
        assert_eq!(sum.to_string(), "2Gi");
        sum.sub(&quantity("512Mi"));
        assert_eq!(sum.to_string(), "1536Mi");
        sum.mul(2);
        assert_eq!(sum.to_string(), "3Gi");
        assert_eq!(Quantity::from_value(&json!(0.5)).unwrap().to_string(), "500m");
        assert_eq!(Quantity::from_value(&json!(1)).unwrap().to_string(), "1");
        assert_eq!(Quantity::from_milli(250).to_string(), "250m");
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(value in any::<i64>(), suffix in 0usize..17) {
            let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "e3", "e-3"];
            let value = if suffix > 6 { value % 1000 } else { value };
            let quantity = Quantity::parse(&format!("{value}{}", suffixes[suffix])).unwrap();
            let text = quantity.to_string();
            let again = Quantity::parse(&text).unwrap();
            prop_assert_eq!(&quantity, &again);
            prop_assert_eq!(again.to_string(), text);
        }

        #[test]
        fn nothing_panics(text in "[-+0-9.eEinumkKMGTPx]{0,40}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.to_string(), quantity.value(), quantity.milli_value());
            }
        }
    }
}
