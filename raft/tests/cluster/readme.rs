//! The tables of the README name tests and modules that there are.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(of: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(of).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_and_module_that_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "tests", "../tests/all"] {
        sources(&root.join(dir), &mut files);
    }
    let texts = files.iter().map(|path| fs::read_to_string(path).expect("a source"));
    let text = texts.collect::<String>();
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let rows = readme.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let (mut modules, mut tests) = (0, 0);
    for name in rows.flat_map(|row| row.split('`').skip(1).step_by(2)) {
        if name.ends_with(".rs") {
            assert!(root.join("src").join(name).is_file(), "no module {name}");
            modules += 1;
        } else if name.contains('_') {
            assert!(
                text.contains(&format!("#[test]\nfn {name}()"))
                    || text.contains(&format!("#[test]\n    fn {name}()")),
                "no test {name}"
            );
            tests += 1;
        }
    }
    assert!(modules > 40 && tests > 80, "{modules} modules, {tests} tests");
}
