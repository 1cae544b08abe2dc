//! Patterns of SCAN MATCH: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a byte that means itself.
//!
//! Works on bytes. A pattern is at most [`crate::limits::PATTERN_MAX`] long, and matching costs at
//! most its length times the key's: after a mismatch only the last `*` is tried again further on,
//! which is enough, since an earlier one could only have taken what the later ones can take too.

/// Whether the whole of `text` is like `pattern`.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The pattern after the last `*`, and the text that it was tried on.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            again = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (one(pattern, text.first().copied()), text.split_first()) {
            (None, None) => return true,
            (Some((true, rest)), Some((_, text_rest))) => (pattern, text) = (rest, text_rest),
            _ => match again {
                Some((after_star, tried)) if !tried.is_empty() => {
                    let tried = tried.get(1..).unwrap_or_default();
                    again = Some((after_star, tried));
                    (pattern, text) = (after_star, tried);
                }
                _ => return false,
            },
        }
    }
}

/// The first element of a pattern held against one byte, and the pattern after it; `None` at the
/// pattern's end.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<(bool, &[u8])> {
    let (first, rest) = pattern.split_first()?;
    Some(match (first, rest.split_first()) {
        (b'?', _) => (byte.is_some(), rest),
        (b'\\', Some((literal, rest))) => (byte == Some(*literal), rest),
        (b'[', _) => class(rest, byte),
        (literal, _) => (byte == Some(*literal), rest),
    })
}

/// What follows `[`. A class that is not closed goes on to the end of the pattern.
fn class(inside: &[u8], byte: Option<u8>) -> (bool, &[u8]) {
    let (negated, mut rest) = match inside.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, inside),
    };
    let mut found = false;
    loop {
        let (low, high, after) = match rest {
            [] | [b']', ..] => break,
            [b'\\', literal, after @ ..] => (*literal, *literal, after),
            [low, b'-', high, after @ ..] => (*low.min(high), *low.max(high), after),
            [literal, after @ ..] => (*literal, *literal, after),
        };
        found |= byte.is_some_and(|byte| (low..=high).contains(&byte));
        rest = after;
    }
    (byte.is_some() && found != negated, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "any", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("user:*", "user:1", true),
            ("user:*", "users", false),
            ("*:1", "user:1:1", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("[abc]x", "bx", true),
            ("[^abc]x", "bx", false),
            ("[^abc]x", "dx", true),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[]]", "]", false),
            ("[\\]]", "]", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("[abc", "b", true),
            ("?", "", false),
            ("[^a]", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let (pattern, text) = ("a*".repeat(200), "a".repeat(20_000));
        assert!(!matches(format!("{pattern}b").as_bytes(), text.as_bytes()));
    }

    /// The definition, exponential and obvious.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|n| slow(rest, &text[n..])),
            Some(_) => match (one(pattern, text.first().copied()), text.split_first()) {
                (Some((true, rest)), Some((_, text))) => slow(rest, text),
                _ => false,
            },
        }
    }

    proptest! {
        #[test]
        fn the_quick_way_agrees_with_the_definition(pattern in "[ab*?]{0,8}", text in "[abc]{0,8}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), slow(pattern, text));
        }
    }
}
