//! Times: how they are read from a command line and from logs, and how they are printed.

/// Microseconds in a second.
pub const SECOND: u64 = 1_000_000;

/// Microseconds since midnight of `12:34:56` or `12:34:56.789012`.
pub fn time_of_day(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let mut part = |max: u64| {
        let part = parts.next()?;
        let number = (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u64>().ok())??;
        (number < max).then_some(number)
    };
    let seconds = part(24)? * 3600 + part(60)? * 60 + part(61)?;
    if parts.next().is_some() {
        return None;
    }
    Some(seconds * SECOND + fraction_of(fraction)?)
}

/// Microseconds of the digits behind a point.
fn fraction_of(digits: &str) -> Option<u64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        let digit = digits.as_bytes().get(place).map_or(0, |byte| u64::from(byte - b'0'));
        micros = micros * 10 + digit;
    }
    Some(micros)
}

/// Microseconds as seconds with six places: `12.345678`.
pub fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / SECOND, micros % SECOND)
}

/// A moment as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Microseconds since the file's first moment.
    Since(u64),
    /// A time as the time column prints it, compared with it digit by digit.
    Printed(String),
}

impl Moment {
    /// Reads `1.5s`, `200ms`, `50us`, seconds as `1.5`, a time of day, or a time as the 6.824
    /// helpers print it (`000123`).
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time: say 1.5s, 200ms, 50us, 12:00:01.5 or 000123");
        if time_of_day(text).is_some() {
            return Ok(Self::Printed(text.to_owned()));
        }
        if text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::Printed(text.to_owned()));
        }
        let at = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, unit) = text.split_at_checked(at).ok_or_else(wrong)?;
        let unit = match unit.trim() {
            "" | "s" => SECOND,
            "ms" => 1000,
            "us" | "µs" => 1,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return Err(wrong());
        }
        let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<u64>() };
        let whole = whole.map_err(|_| wrong())?.checked_mul(unit).ok_or_else(wrong)?;
        let fraction = fraction_of(fraction).ok_or_else(wrong)? * unit / SECOND;
        whole.checked_add(fraction).map(Self::Since).ok_or_else(wrong)
    }

    /// Whether a row at `micros`, printed as `clock`, lies at this moment or after it; `None`
    /// where the two cannot be compared.
    pub fn reached(&self, micros: Option<u64>, clock: &str) -> Option<bool> {
        match self {
            Self::Since(from) => micros.map(|at| at >= *from),
            Self::Printed(from) => match (time_of_day(from), time_of_day(clock)) {
                (Some(from), Some(at)) => Some(at >= from),
                (None, None) => {
                    let (from, at) = (from.parse::<u64>().ok()?, clock.parse::<u64>().ok()?);
                    Some(at >= from)
                }
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_has_its_parts_and_up_to_six_places() {
        assert_eq!(time_of_day("00:00:01.5"), Some(1_500_000));
        assert_eq!(time_of_day("12:00:00.000123456"), Some(43_200_000_123));
        for bad in ["", "1:2:3", "12:00", "24:00:00", "12:60:00", "12:00:00.x", "12:00:00:00"] {
            assert_eq!(time_of_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_are_read_with_and_without_units() {
        let since = |text| match Moment::parse(text) {
            Ok(Moment::Since(micros)) => micros,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(since("1.5"), 1_500_000);
        assert_eq!(since("200ms"), 200_000);
        assert_eq!(since("1.25ms"), 1250);
        assert_eq!(since("7us"), 7);
        assert_eq!(since(".5s"), 500_000);
        for bad in ["", "s", "1h", "-1", "1.2.3", "999999999999999999999s"] {
            assert!(Moment::parse(bad).is_err(), "{bad}");
        }
        let tick = Moment::parse("000123").unwrap();
        assert_eq!(tick.reached(None, "000122"), Some(false));
        assert_eq!(tick.reached(None, "000123"), Some(true));
        assert_eq!(tick.reached(Some(5), "0.000005"), None);
    }

    #[test]
    fn seconds_have_six_places() {
        assert_eq!(seconds(12_000_034), "12.000034");
    }
}
