//! Numbers and bytes as people read them. Pure.

/// `48213` as `48 213`.
pub(crate) fn grouped(number: u64) -> String {
    let mut out = Vec::with_capacity(DECIMALS_MAX);
    grouped_into(&mut out, number);
    String::from_utf8(out).expect("digits and spaces are ASCII")
}

/// Digits of the largest number, with the spaces between them.
const DECIMALS_MAX: usize = 26;

/// Puts the same behind what is in `out`. Returns how many characters that were.
pub(crate) fn grouped_into(out: &mut Vec<u8>, number: u64) -> usize {
    let (mut text, mut at, mut rest) = ([b' '; DECIMALS_MAX], DECIMALS_MAX, number);
    loop {
        // From the back, where each fourth place stays a space.
        at -= 1 + usize::from((DECIMALS_MAX - at) % 4 == 3);
        text[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[at..]);
    DECIMALS_MAX - at
}

/// Bytes with one digit behind the point: `212.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut unit, mut whole) = (0, bytes);
    while whole >= 1024 * 1024 && unit + 1 < UNITS.len() {
        whole /= 1024;
        unit += 1;
    }
    let tenths = whole.saturating_mul(10) / 1024;
    format!("{}.{} {}", grouped(tenths / 10), tenths % 10, UNITS[unit])
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// `1 entry`, `2 entries`.
pub(crate) fn count_of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A window of indexes, both ends included, as `40 001..48 230`.
pub(crate) fn span((first, last): (u64, u64)) -> String {
    if first == last { grouped(first) } else { format!("{}..{}", grouped(first), grouped(last)) }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    base64_into(&mut out, bytes);
    String::from_utf8(out).expect("digits of base64 are ASCII")
}

/// Puts the same behind what is in `out`.
pub(crate) fn base64_into(out: &mut Vec<u8>, bytes: &[u8]) {
    let (threes, rest) = bytes.as_chunks::<3>();
    let digit = |word: u32, shift: u32| DIGITS[(word >> shift & 63) as usize];
    let begin = out.len();
    out.resize(begin + threes.len() * 4, 0);
    let (fours, _) = out[begin..].as_chunks_mut::<4>();
    for (three, four) in threes.iter().zip(fours) {
        let word = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        *four = [digit(word, 18), digit(word, 12), digit(word, 6), digit(word, 0)];
    }
    match *rest {
        [one] => {
            let word = u32::from(one) << 16;
            out.extend([digit(word, 18), digit(word, 12), b'=', b'=']);
        }
        [one, two] => {
            let word = u32::from(one) << 16 | u32::from(two) << 8;
            out.extend([digit(word, 18), digit(word, 12), digit(word, 6), b'=']);
        }
        _ => {}
    }
}

/// The bytes of a text in base64, with padding; None where it is none.
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let (fours, rest) = digits.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let byte = |word: u32, shift: u32| u8::try_from(word >> shift & 255).unwrap_or(0);
    // What is said of a digit's worth is looked up once, not searched for each time.
    let mut values = [None; 256];
    for (value, digit) in (0_u32..).zip(DIGITS) {
        values[usize::from(*digit)] = Some(value);
    }
    let mut out = Vec::with_capacity(fours.len() * 3);
    for (at, four) in fours.iter().enumerate() {
        let pads = four.iter().rev().take_while(|digit| **digit == b'=').count();
        if pads > 2 || (pads > 0 && at + 1 < fours.len()) {
            return None;
        }
        let mut word = 0_u32;
        for digit in &four[..4 - pads] {
            word = word << 6 | values[usize::from(*digit)]?;
        }
        let word = word << (6 * pads);
        let bytes = [byte(word, 16), byte(word, 8), byte(word, 0)];
        out.extend_from_slice(&bytes[..3 - pads]);
    }
    Some(out)
}

/// Two digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex_into(&mut out, bytes);
    String::from_utf8(out).expect("hexadecimal digits are ASCII")
}

/// Puts the same behind what is in `out`.
pub(crate) fn hex_into(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS[usize::from(nibble & 15)];
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
}

/// Columns that a text takes; what colours it takes none.
pub(crate) fn columns(text: &str) -> usize {
    let mut coloured = text.split('\x1b');
    let plain = coloured.next().map_or(0, |first| first.chars().count());
    plain + coloured.map(|p| p.split_once('m').map_or(0, |(_, t)| t.chars().count())).sum::<usize>()
}

/// As text; control characters and what is no text are escaped.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    text_into(&mut out, bytes);
    String::from_utf8(out).expect("what is no UTF-8 was escaped")
}

/// Puts the same behind what is in `out`.
pub(crate) fn text_into(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                '"' => out.extend_from_slice(b"\\\""),
                c if c.is_control() => {
                    out.extend_from_slice(c.escape_default().to_string().as_bytes())
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\x");
            hex_into(out, std::slice::from_ref(byte));
        }
    }
}

/// `text` in lines of at most `width` characters, broken between words.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (48_213, "48 213")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(u64::MAX), "18 446 744 073 709 551 615");
        assert_eq!((span((7, 7)), span((1, 2000))), ("7".to_owned(), "1..2 000".to_owned()));
        assert_eq!((count(1, "error"), count(0, "error")), ("1 error".into(), "0 errors".into()));
    }

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB")];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(1 << 20), "1.0 MiB");
        assert_eq!(size((1 << 20) - 1), "1 023.9 KiB");
        assert_eq!(size(u64::MAX), "16 383.9 PiB");
    }

    #[test]
    fn bytes_are_shown_three_ways() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, encoded) in cases {
            assert_eq!(base64(bytes.as_bytes()), encoded);
            assert_eq!(unbase64(encoded).as_deref(), Some(bytes.as_bytes()));
        }
        for bad in ["Z", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9*"] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert_eq!(text(b"a\"b\\\n\xff\xc3\xa4"), "a\\\"b\\\\\\n\\xff\u{e4}");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
        assert!(wrapped("", 5).is_empty());
        assert_eq!(wrapped("longerthanfive", 5), ["longerthanfive"]);
    }
}
