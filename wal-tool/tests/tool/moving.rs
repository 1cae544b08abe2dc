//! Export and import, backup and restore: what comes back is the same log.

use std::{fs, path::Path};

use crate::{code, directories as made, text, tool};

fn lay(home: &Path, name: &str, disk: &hardlog::fs::sim::SimFs) {
    made::lay(disk, &home.join(name));
}

#[test]
fn the_export_of_an_import_is_the_same_text_and_the_logs_are_the_same() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    lay(home, "healthy", &made::healthy());
    lay(home, "n1", &made::cluster()[0]);
    for fixture in ["all-kinds", "reset", "trimmed", "trimmed-past-the-end", "empty"] {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1").join(fixture);
        copy_dir(&data.join("data"), &home.join(fixture));
    }
    let all = ["healthy", "n1", "all-kinds", "reset", "trimmed", "trimmed-past-the-end", "empty"];
    for name in all {
        let first = tool(home, &format!("export {name}"));
        assert_eq!(code(&first), 0, "{name}: {first:?}");
        fs::write(home.join("out.ndjson"), &first.stdout).expect("writes");
        let imported = tool(home, &format!("import {name}-again out.ndjson --segment-size 65536"));
        assert_eq!(code(&imported), 0, "{name}: {imported:?}");
        let again = tool(home, &format!("export {name}-again"));
        let lost = text(&first.stdout).contains("\"maybe_lost\":null");
        assert!(text(&again.stdout) == text(&first.stdout) || !lost, "{name}");
        let verified = tool(home, &format!("verify {name}-again"));
        assert_eq!(code(&verified), 0, "{name}: {}", text(&verified.stdout));
        let compared = tool(home, &format!("diff {name} {name}-again"));
        assert!(text(&compared.stdout).contains("CONSISTENT"), "{name}: {compared:?}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copies");
        }
    }
}

#[test]
fn an_export_that_is_not_whole_becomes_no_log() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    lay(home, "healthy", &made::healthy());
    lay(home, "rotten", &made::rotten());
    let whole = tool(home, "export healthy").stdout;
    let holes = tool(home, "export rotten");
    assert_eq!(code(&holes), 3);
    assert!(text(&holes.stdout).contains(r#"{"first":200,"last":200,"row":"missing"}"#));
    let middle = whole.len() / 2;
    let mut flipped = whole.clone();
    let payload = text(&whole).find("c2V0IGtleS0").expect("an entry in base64");
    flipped[payload] = b'd';
    let mut swapped: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let last = swapped.len() - 3;
    swapped.remove(last);
    let cases: [(&str, Vec<u8>); 6] = [
        ("cut", whole[..middle].to_vec()),
        ("without its end", whole[..whole.len() - 30].to_vec()),
        ("changed", flipped),
        ("short of a line", swapped.concat()),
        ("with holes", holes.stdout.clone()),
        ("empty", Vec::new()),
    ];
    for (what, bytes) in cases {
        fs::write(home.join("in"), bytes).expect("writes");
        let output = tool(home, "import new in");
        assert!([4, 6].contains(&code(&output)), "{what}: {output:?}");
        assert!(!home.join("new").exists() && !home.join("new.partial").exists(), "{what}");
    }
    // And nothing is overwritten.
    fs::write(home.join("in"), &whole).expect("writes");
    assert_eq!(code(&tool(home, "import healthy in")), 6);
}

#[test]
fn a_backup_restores_to_the_same_bytes_and_a_changed_one_to_nothing() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    lay(home, "healthy", &made::healthy());
    let output = tool(home, "backup healthy kept");
    assert_eq!(code(&output), 0, "{output:?}");
    assert_eq!(code(&tool(home, "backup healthy kept")), 6, "nothing is overwritten");
    let output = tool(home, "restore kept back --json");
    assert_eq!(code(&output), 0, "{output:?}");
    let names = |dir: &str| {
        let mut names: Vec<_> = fs::read_dir(home.join(dir))
            .expect("listed")
            .map(|entry| entry.expect("read").path())
            .filter(|path| path.is_file() && !path.ends_with("LOCK"))
            .map(|path| {
                (path.file_name().expect("named").to_owned(), fs::read(&path).expect("read"))
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("back"), names("healthy"));
    assert_eq!(names("back/snapshots"), names("healthy/snapshots"));
    assert_eq!(tool(home, "export back").stdout, tool(home, "export healthy").stdout);

    let victim =
        fs::read_dir(home.join("kept/log")).expect("listed").map(|e| e.expect("read").path());
    let victim = victim.filter(|path| path.is_file()).max().expect("a file");
    let mut bytes = fs::read(&victim).expect("read");
    bytes[9000] ^= 1;
    fs::write(&victim, bytes).expect("writes");
    let output = tool(home, "restore kept other");
    assert_eq!(code(&output), 3, "{output:?}");
    assert!(!home.join("other").exists() && !home.join("other.partial").exists());
}

#[test]
fn a_disk_is_measured_and_nothing_is_left_on_it() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    lay(home, "healthy", &made::healthy());
    for dir in [".", "healthy"] {
        let output = tool(home, &format!("bench-disk {dir} --seconds 0.1 --json"));
        assert_eq!(code(&output), 0, "{output:?}");
        let stdout = text(&output.stdout);
        assert!(stdout.contains("\"p99_us\":") && stdout.contains("\"verdict\":"), "{stdout}");
    }
    assert!(text(&tool(home, "bench-disk . --seconds 0.1").stdout).contains("RESULT"));
    assert_eq!(fs::read_dir(home).expect("listed").count(), 1);
    assert_eq!(code(&tool(home, "verify healthy")), 0);
    assert_eq!(code(&tool(home, "bench-disk nowhere")), 4);
    // Memory is told from a disk.
    match tempfile::tempdir_in("/dev/shm") {
        Ok(memory) => {
            let output = tool(memory.path(), "bench-disk . --seconds 0.1");
            let said = text(&output.stdout);
            assert!(said.contains("NO SYNC") && said.contains("This is tmpfs"), "{said}");
        }
        Err(e) => eprintln!("skipped: no /dev/shm: {e}"),
    }
}
