//! `bundle`: what is sent holds the evidence, and with `--redact` nothing that was stored.

use std::{fs, path::Path, process::Command};

use hardlog::{Class, Log};
use serde_json::Value;

use crate::{code, directories as made, text, tool};

fn unpacked(home: &Path, archive: &str, into: &str) {
    fs::create_dir(home.join(into)).expect("makes");
    let tar = Command::new("tar").args(["xf", archive, "-C", into]).current_dir(home).output();
    let tar = tar.expect("there is tar");
    assert!(tar.status.success() && tar.stderr.is_empty(), "{tar:?}");
}

#[test]
fn a_bundle_is_an_archive_of_the_words_and_the_files() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    made::lay(&made::rotten(), &home.join("n1"));
    let output = tool(home, "bundle n1");
    assert_eq!(code(&output), 3, "{output:?}");
    unpacked(home, "n1.bundle.tar", "all");
    let read = |name: &str| fs::read(home.join("all/n1").join(name)).expect(name);
    let manifest: Value = serde_json::from_slice(&read("bundle.json")).expect("JSON");
    assert_eq!(manifest["left_out"].as_array().map(Vec::len), Some(0), "{manifest:#}");
    for file in manifest["files"].as_array().expect("a list") {
        let name = file["name"].as_str().expect("a name");
        assert_eq!(file["len"], read(name).len() as u64, "{name}");
    }
    let verified: Value = serde_json::from_slice(&read("verify.json")).expect("JSON");
    assert_eq!(verified["findings"][0]["code"], "W202");
    assert!(text(&read("verify.txt")).contains("W202 payload CRC"));
    assert_eq!(text(&read("hex/2@0x78b8.txt")), text(&tool(home, "hex n1 2@0x78b8").stdout));
    assert_eq!(text(&read("stats.json")), text(&tool(home, "stats n1 --json").stdout));
    for dir in ["", "snapshots"] {
        for entry in fs::read_dir(home.join("n1").join(dir)).expect("listed") {
            let path = entry.expect("read").path();
            let name = path.file_name().expect("named").to_str().expect("text").to_owned();
            if path.is_file() && name != "LOCK" {
                let kept = read(&Path::new("log").join(dir).join(&name).display().to_string());
                assert!(kept == fs::read(&path).expect("read"), "{name}");
            }
        }
    }
    assert_eq!(code(&tool(home, "bundle n1")), 6, "nothing is overwritten");
    // Where there is little room, the damaged file is the one that comes.
    assert_eq!(code(&tool(home, "bundle n1 -o small.tar --files-max 70000")), 3);
    unpacked(home, "small.tar", "small");
    let kept = fs::read_dir(home.join("small/n1/log")).expect("listed");
    let kept = kept.map(|entry| entry.expect("read").file_name().into_string().expect("text"));
    let segments: Vec<String> = kept.filter(|name| name.ends_with(".wal")).collect();
    assert_eq!(segments, ["00000000000000000002.wal"]);
    let said = fs::read_to_string(home.join("small/n1/bundle.json")).expect("read");
    assert!(said.contains("more than --files-max leaves"), "{said}");
    assert_eq!(code(&tool(home, "bundle nowhere")), 4);
    assert!(!home.join("nowhere.bundle.tar").exists());
}

#[test]
fn a_redacted_bundle_holds_nothing_that_was_stored() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    made::lay(&made::rotten(), &home.join("bad"));
    made::lay(&made::healthy(), &home.join("n1"));
    let (mut log, _) = Log::open(home.join("n1"), made::options()).expect("opens");
    log.save_meta(7, Class::Ordered, b"the slot's own value").expect("saves");
    log.sync().expect("syncs");
    // A live one: who has it open is nobody's business either.
    let holder = fs::read_to_string(home.join("n1/LOCK")).expect("read").trim().to_owned();
    assert!(holder.len() > 3, "{holder:?}");
    let find = |archive: &[u8], what: &[u8]| archive.windows(what.len()).any(|at| at == what);
    let plain: [&[u8]; 4] = [b"value of entry", b"******", b"the slot's own value", &[]];
    let secrets = [plain[0], plain[1], plain[2], b"c2V0IGtleS", b"73 65 74 20", holder.as_bytes()];
    for (dir, exit) in [("n1", 0), ("bad", 3)] {
        let output = tool(home, &format!("bundle {dir} --redact -o {dir}.tar"));
        assert_eq!(code(&output), exit, "{output:?}");
        let archive = fs::read(home.join(format!("{dir}.tar"))).expect("read");
        for secret in secrets {
            assert!(!find(&archive, secret), "{dir}: {}", String::from_utf8_lossy(secret));
        }
        assert!(find(&archive, b"\"row\":\"entry\""), "{dir}: without the rows");
        // The whole one does hold them, or the test above would prove nothing.
        assert_eq!(code(&tool(home, &format!("bundle {dir} -o {dir}-whole.tar"))), exit);
        let archive = fs::read(home.join(format!("{dir}-whole.tar"))).expect("read");
        assert!(find(&archive, secrets[0]) && find(&archive, secrets[3]), "{dir}");
        assert!(dir == "bad" || (find(&archive, secrets[2]) && find(&archive, secrets[5])));
        assert!(dir == "n1" || find(&archive, secrets[4]));
    }
    drop(log);
}
