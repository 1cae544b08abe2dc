//! The worked examples of FORMAT.md, made by the codec and compared with the document.
//!
//! An example stands between `<!-- example: name -->` and `<!-- end -->`. A change of the format
//! fails here and prints the block as it must be.

use bytes::Bytes;

use crate::{
    batch::{Op, PAGE, Seal, encode, marker_at, promises, seal},
    entry::{Entry, LogId},
    hard_state::HardState,
    header::{BATCHES_AT, Header, Predecessor},
    index::{
        Row, Summary, TermRun,
        file::{Identity, encode as encode_index},
    },
    state::LogState,
};

const LOG_ID: LogId = LogId(*b"0123456789abcdef");
const SALT: u64 = 0x1122_3344_5566_7788;
const SALT_BEFORE: u64 = 0x99aa_bbcc_ddee_ff00;

fn check(name: &str, bytes: &[u8]) {
    let rows = bytes.chunks(16).enumerate().map(|(i, row)| {
        let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        format!("{:04x}  {}\n", i * 16, hex.join(" "))
    });
    let wanted = format!("```\n{}```", rows.collect::<String>());
    let document = include_str!("../FORMAT.md");
    let (_, rest) = document
        .split_once(&format!("<!-- example: {name} -->\n"))
        .unwrap_or_else(|| panic!("FORMAT.md has no example {name}"));
    let (found, _) = rest.split_once("<!-- end -->").expect("an example ends");
    assert!(found.trim() == wanted, "FORMAT.md must have for {name}:\n{wanted}\n");
}

#[test]
fn the_header_is_as_documented() {
    let header = Header {
        log_id: LOG_ID,
        id: 2,
        salt: SALT,
        created: 1_700_000_000_000_000_000,
        batch_max: 131_072,
        predecessor: Some(Predecessor { id: 1, salt: SALT_BEFORE, end: 12_288, last_seq: 7 }),
        born_end: 12_376,
        reused: false,
    };
    check("header", &header.encode());
}

#[test]
fn a_batch_of_entries_is_as_documented() {
    let entries = [Entry::new(5, 3, "set x 1"), Entry::new(6, 3, Bytes::new())];
    let mut bytes = encode(&[Op::Entries(entries.as_slice().into())], 1 << 20).expect("fits");
    let place = Seal { salt: SALT, offset: 12_376, seq: 8, durable: 7, marker: false };
    seal(&mut bytes, place);
    check("batch", &bytes);
}

#[test]
fn a_marker_is_as_documented() {
    let hard_state = HardState { term: 3, vote: Some(1), commit: 4 };
    let state = LogState { hard_state, ..LogState::new(5) };
    let mut bytes = encode(&promises(&state), 1 << 20).expect("fits");
    let offset = marker_at(BATCHES_AT + 224);
    assert_eq!(offset, 3 * PAGE);
    seal(&mut bytes, Seal { salt: SALT, offset, seq: 7, durable: 7, marker: true });
    // The document's born_end and its next batch stand right behind this marker.
    assert_eq!(offset + bytes.len() as u64, 12_376);
    check("marker", &bytes);
}

#[test]
fn an_index_file_is_as_documented() {
    let identity = Identity { log_id: LOG_ID, id: 1, salt: SALT_BEFORE, end: 12_288, last_seq: 7 };
    let summary = Summary {
        rows: vec![Row { first: 1, offset: 8448, bytes: 300 }],
        runs: vec![TermRun { first: 1, term: 2, tag: 0 }],
        next: 5,
        lowest_cut: None,
        refills: Vec::new(),
    };
    check("index", &encode_index(&identity, &summary));
}
