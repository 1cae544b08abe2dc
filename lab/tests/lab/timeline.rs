//! `raft-lab timeline`: the page in a real browser, with keys, mouse, links, a hostile trace and a
//! hundred thousand events.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{browser::Browser, cluster::Made, said, sample};

/// The page of a trace, in a directory of its own.
fn page(dir: &TempDir, name: &str, trace: &str) -> PathBuf {
    let (from, to) = (dir.path().join(name), dir.path().join(format!("{name}.html")));
    fs::write(&from, trace).unwrap();
    said(&["timeline", from.to_str().unwrap(), "-o", to.to_str().unwrap()]);
    to
}

fn page_of(dir: &TempDir, file: &str) -> PathBuf {
    let to = dir.path().join("page.html");
    said(&["timeline", file, "-o", to.to_str().unwrap()]);
    to
}

#[test]
fn the_page_works_with_keys_mouse_and_links() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = TempDir::new().unwrap();
    let page = page(&dir, "run", &Made::trace(2000));
    browser.open(&page, "");
    assert_eq!(browser.eval("lab.painter.stats.lanes"), 5);
    assert!(browser.eval("lab.model.count").as_u64().unwrap() >= 2000);
    assert!(browser.eval("lab.painter.stats.messages").as_u64().unwrap() > 300);
    assert!(browser.eval("lab.painter.stats.events").as_u64().unwrap() > 100);
    steps(&mut browser);
    searches(&mut browser);
    tables(&mut browser);
    points(&mut browser);
    themes(&mut browser, &page);
    links(&mut browser, &page);
    browser.no_errors();
}

/// Arrow keys go from event to event, and the live region says each.
fn steps(browser: &mut Browser) {
    browser.key("ArrowRight");
    let first = browser.text("document.getElementById('live').textContent");
    assert!(first.contains("becomes candidate, term 1"), "{first}");
    browser.key("ArrowRight");
    browser.key("ArrowRight");
    assert_eq!(browser.eval("lab.cursor.event"), 2);
    browser.key("ArrowLeft");
    assert_eq!(browser.eval("lab.cursor.event"), 1);
    browser.key("ArrowDown");
    assert_eq!(browser.eval("lab.node"), 0, "the first node is in focus");
    browser.key("ArrowRight");
    assert_eq!(browser.eval("lab.model.rows[lab.cursor.event].n"), 1, "only its events now");
    browser.key("Escape");
    browser.key("+");
    let shown = browser.eval("lab.painter.to - lab.painter.from").as_f64().unwrap();
    browser.key("0");
    let all = browser.eval("lab.painter.to - lab.painter.from").as_f64().unwrap();
    assert!((all / shown - 1.6).abs() < 0.01, "{shown} of {all}");
    browser.key("End");
    let logs = browser.text("document.getElementById('nodes').textContent");
    assert!(logs.contains("commit") && logs.contains("t1"), "{logs}");
}

fn searches(browser: &mut Browser) {
    browser.key("/");
    assert_eq!(browser.eval("document.activeElement.id"), "query");
    for c in ["k", "i", "n", "d", ":", "l", "o", "s", "t"] {
        browser.key(c);
    }
    browser.eval("document.getElementById('search').requestSubmit()");
    let hits = browser.eval("lab.hits.length").as_u64().unwrap();
    assert!(hits > 5, "{hits}");
    assert_eq!(browser.eval("lab.model.rows[lab.cursor.event].e"), "lost");
    browser.key("Escape");
    let at = browser.eval("lab.cursor.event");
    browser.key("n");
    assert_ne!(browser.eval("lab.cursor.event"), at, "the next hit");
    browser.key("m");
    assert_eq!(browser.eval("lab.model.rows[lab.cursor.event].e"), "send", "its other end");
}

/// The table has the same events, as rows that a screen reader can count.
fn tables(browser: &mut Browser) {
    browser.key("t");
    assert_eq!(browser.eval("document.getElementById('table').hidden"), false);
    let columns = browser.eval("document.querySelectorAll('#events th').length");
    assert_eq!(columns, 7, "time, what is around, five nodes");
    let counted = browser.text("document.getElementById('events').getAttribute('aria-rowcount')");
    let shown = browser.eval("lab.table.list.length").as_u64().unwrap() + 1;
    assert_eq!(counted, shown.to_string());
    let chosen = "document.querySelector('tr[aria-selected=true]')";
    let words = browser.text(&format!("{chosen}.textContent"));
    assert!(words.contains("→"), "{words}");
    assert_eq!(
        browser.eval(&format!("{chosen}.getBoundingClientRect().top < innerHeight")),
        true,
        "the chosen row is in view"
    );
    let rows = browser.eval("document.querySelectorAll('#events tr[data-i]').length");
    assert!(rows.as_u64().unwrap() < 1500, "only what is near is made: {rows}");
    browser.key("t");
}

fn points(browser: &mut Browser) {
    browser.key("0");
    let place = "(() => { const b = lab.painter.canvas.getBoundingClientRect(), s = lab.painter.shown; \
                 for (let i = 0; i < s.length; i += 4) if (s[i + 3] === 2) return [s[i + 1] + b.left, s[i + 2] + b.top]; })()";
    let at = browser.eval(place);
    let (x, y) = (at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    browser.mouse(x, y, false);
    assert_eq!(browser.eval("document.getElementById('tip').hidden"), false);
    browser.mouse(x, y, true);
    let details = browser.text("document.getElementById('details').textContent");
    assert!(details.contains("node 3"), "{details}");
}

fn themes(browser: &mut Browser, page: &Path) {
    for scheme in ["dark", "light"] {
        browser.prefers(scheme);
        browser.open(page, "");
        assert_eq!(browser.text("document.documentElement.dataset.theme"), scheme);
    }
    browser.key("d");
    assert_eq!(browser.text("document.documentElement.dataset.theme"), "dark");
    let ground =
        "[...lab.painter.context.getImageData(lab.painter.width - 3, 2, 1, 1).data].slice(0, 3)";
    assert_eq!(browser.eval(ground), serde_json::json!([19, 21, 24]), "it is drawn in dark");
    browser.key("d");
}

/// A link brings back time, node, zoom and tab; and the page writes such links.
fn links(browser: &mut Browser, page: &Path) {
    browser.open(page, "");
    browser.eval("lab.select(700)");
    browser.key("+");
    browser.key("ArrowDown");
    browser.eval("new Promise(r => setTimeout(r, 250))");
    let link = browser.text("location.hash");
    let t = browser.eval("lab.cursor.t");
    let width = browser.eval("Math.round(lab.painter.to - lab.painter.from)");
    browser.open(page, &link);
    assert_eq!(browser.eval("lab.cursor.event"), 700, "{link}");
    assert_eq!(browser.eval("lab.cursor.t"), t);
    assert_eq!(browser.eval("lab.node"), 0);
    assert_eq!(browser.eval("Math.round(lab.painter.to - lab.painter.from)"), width);
    browser.open(page, &format!("#t={t}&n=2&tab=table"));
    assert_eq!(browser.eval("lab.tab"), "table");
    assert_eq!(browser.eval("lab.node"), 1);
    browser.open(page, "#t=x&n=99&q=-7&w=0&tab=none");
    assert_eq!(browser.eval("lab.tab"), "timeline", "what makes no sense is ignored");
}

/// What stands on the canvas, by its pixels: a trace of two nodes in which each thing happens once.
const SMALL: &str = r#"{"trace":"hardlog.trace/1","source":"sim","seed":1,"nodes":[1,2],"clock":"virtual"}
{"t":0,"n":1,"q":1,"e":"role","term":1,"role":"follower"}
{"t":0,"n":2,"q":2,"e":"role","term":1,"role":"follower"}
{"t":10000,"n":1,"q":3,"e":"role","term":2,"role":"leader"}
{"t":10000,"n":2,"q":4,"e":"role","term":2,"role":"follower","leader":1}
{"t":20000,"n":1,"q":5,"e":"send","m":1,"to":2,"kind":"append","term":2,"first":1,"last":1}
{"t":30000,"n":2,"q":6,"e":"recv","m":1,"from":1,"kind":"append"}
{"t":40000,"n":1,"q":7,"e":"send","m":2,"to":2,"kind":"append","term":2}
{"t":45000,"n":1,"q":8,"e":"lost","m":2,"to":2,"why":"dropped"}
{"t":50000,"n":1,"q":9,"e":"write","first":1,"last":1,"batch":1}
{"t":60000,"n":1,"q":10,"e":"sync","us":8000}
{"t":62000,"n":1,"q":11,"e":"commit","index":1,"term":2}
{"t":70000,"n":0,"q":12,"e":"fault","what":"disconnect","nodes":[2]}
{"t":80000,"n":1,"q":13,"e":"commit","index":5,"term":2}
{"t":90000,"n":0,"q":14,"e":"fault","what":"connect","nodes":[2]}
{"t":99000,"n":1,"q":15,"e":"apply","first":1,"last":5}
{"t":100000,"n":1,"q":16,"e":"role","term":2,"role":"down"}
"#;

/// `x(t)` and `y(lane)` of the painter, and how many pixels of a rectangle have a colour.
const PROBE: &str = "(() => {
    const p = lab.painter, one = document.createElement('canvas').getContext('2d');
    window.x = t => p.x(t); window.y = lane => p.y(lane); window.colors = p.colors;
    window.term = term => p.term(term);
    window.pixels = (x0, y0, x1, y1) => p.context.getImageData(x0 * p.ratio, y0 * p.ratio,
        Math.max(1, (x1 - x0) * p.ratio), Math.max(1, (y1 - y0) * p.ratio)).data;
    window.count = (color, ...box) => {
        one.fillStyle = color; one.fillRect(0, 0, 1, 1);
        const [r, g, b] = one.getImageData(0, 0, 1, 1).data, data = pixels(...box);
        let found = 0;
        for (let i = 0; i < data.length; i += 4) {
            const away = Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b);
            if (away < 24) found++;
        }
        return found;
    };
    window.redness = (x, y) => { const [r, g] = pixels(x, y, x + 1, y + 1); return r - g; };
    window.blue = (...box) => {
        const data = pixels(...box);
        return data.filter((_, i) => i % 4 === 0 && data[i + 2] - data[i] > 60).length;
    };
    window.dark = (below, ...box) => {
        const data = pixels(...box), sum = i => data[i] + data[i + 1] + data[i + 2];
        return data.filter((_, i) => i % 4 === 0 && sum(i) < below).length;
    };
    window.foot = p.lane - 16;
    window.lost = p.lines.find(line => lab.model.messages.fate[line.at] === 1);
    window.came = p.lines.find(line => lab.model.messages.fate[line.at] === 0);
})()";

#[test]
fn the_canvas_shows_what_happened() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = TempDir::new().unwrap();
    browser.open(&page(&dir, "small", SMALL), "");
    browser.eval(PROBE);
    for (what, holds) in [
        ("a term's colour", "count(term(1)[0], x(4e3), y(0) + 20, x(8e3), y(0) + 40) > 200"),
        ("another for the next", "count(term(2)[0], x(13e3), y(0) + 20, x(17e3), y(0) + 40) > 200"),
        ("not the same", "count(term(1)[0], x(13e3), y(0) + 20, x(17e3), y(0) + 40) === 0"),
        ("a leader's border", "count(term(2)[1], x(5e4), y(0) + 1, x(5e4) + 9, y(0) + 3) > 15"),
        ("a follower's", "count(term(2)[1], x(5e4), y(1) + 2, x(5e4) + 9, y(1) + 4) === 0"),
        ("an arrow arrives", "came.y1 === y(1) && Math.abs(came.x1 - x(3e4)) < 1"),
        ("in its colour", "blue(came.x1 - 8, came.y1 - 9, came.x1 + 3, came.y1) > 8"),
        ("a lost one does not", "lost.y1 < y(1) - 4 && lost.y1 > y(0) + lab.painter.lane"),
        (
            "it ends in a cross",
            "count(colors.lost, lost.x1 - 4, lost.y1 - 4, lost.x1 + 4, lost.y1 + 4) > 7",
        ),
        ("a write", "dark(640, x(5e4) - 2, y(0) + foot + 2, x(5e4) + 2, y(0) + foot + 7) > 3"),
        (
            "a sync",
            "count(colors.sync, x(6e4) - 2, y(0) + foot + 8, x(6e4) + 2, y(0) + foot + 14) > 3",
        ),
        ("a fault", "redness(x(8e4), y(1) - 4) > 60 && redness(x(8e4), y(1) + foot + 3) > 3"),
        ("its end", "redness(x(95e3), y(1) - 4) < 9 && redness(x(6e4), y(1) - 4) < 9"),
        ("not of the other", "redness(x(8e4), y(0) - 4) < 9"),
        ("a commit", "dark(500, x(83e3), y(0) + 17, x(95e3), y(0) + 22) > 20"),
        ("not before", "dark(500, x(66e3), y(0) + 17, x(77e3), y(0) + 22) === 0"),
        ("a node at the cursor", "lab.select(10), lab.state[0].commit === 1"),
        ("and later", "lab.select(12), lab.state[0].commit === 5 && lab.state[0].durable === 1"),
    ] {
        assert_eq!(browser.eval(holds), true, "{what}: {holds}");
    }
    browser.no_errors();
}

#[test]
fn a_hundred_thousand_events_stay_smooth() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = TempDir::new().unwrap();
    let page = page(&dir, "long", &Made::trace(100_000));
    browser.open(&page, "");
    assert!(browser.eval("lab.model.count").as_u64().unwrap() >= 100_000);
    browser.key("End");
    let cells = "[...document.querySelectorAll('.log span')]";
    assert!(browser.text(&format!("{cells}.at(-1).textContent")).len() > 5, "large indexes");
    let cut = format!("{cells}.filter(cell => cell.scrollWidth > cell.clientWidth).length");
    assert_eq!(browser.eval(&cut), 0, "an index is cut off");
    // All topics, moved and zoomed through from everything down to milliseconds.
    let frames = "new Promise(done => {
        lab.hidden.clear();
        const times = [], begin = lab.model.begin, span = lab.model.end - begin;
        let before = 0, at = 0;
        const frame = now => {
            if (before) times.push(now - before);
            before = now;
            if (++at > 90) return done(times.sort((a, b) => a - b));
            const width = span * Math.pow(0.9, at), from = begin + span * 0.4 + at * width / 60;
            lab.setView(from, from + width, true);
            lab.drawNow();
            requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    })";
    let mut medians = Vec::new();
    // On a machine that does other things too, the best of three.
    for _ in 0..3 {
        let times = browser.eval(frames);
        let median = times[times.as_array().unwrap().len() / 2].as_f64().unwrap();
        medians.push(median);
        if median < 33.4 {
            break;
        }
    }
    println!("median of a frame, ms: {medians:?}");
    assert!(medians.last().unwrap() < &33.4, "{medians:?}");
    browser.no_errors();
}

#[test]
fn a_hostile_trace_runs_nothing() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = TempDir::new().unwrap();
    let evil = "</script><script>window.owned=1</script><img src=x onerror=window.owned=1>";
    let escaped = evil.replace('"', "\\\"");
    let trace = format!(
        "{{\"trace\":\"hardlog.trace/1\",\"source\":\"{escaped}\",\"nodes\":[1],\"clock\":\"{escaped}\"}}\n\
         {{\"t\":1,\"n\":1,\"q\":1,\"e\":\"{escaped}\",\"{escaped}\":\"{escaped}\",\"__proto__\":{{\"x\":1}}}}\n\
         {{\"t\":2,\"n\":1,\"q\":2,\"e\":\"role\",\"term\":1,\"role\":\"{escaped}\",\"why\":\"{escaped}\"}}\n\
         {{\"t\":2,\"n\":1,\"q\":2,\"e\":\"commit\",\"index\":\"{escaped}\",\"term\":[]}}\n\
         {{\"t\":2,\"n\":1,\"q\":2,\"e\":\"write\",\"first\":1,\"last\":18446744073709551615,\"batch\":1}}\n\
         {{\"t\":2,\"n\":1,\"q\":2,\"e\":\"recover\",\"verdict\":7,\"first\":9,\"last\":{{}}}}\n\
         {{\"t\":2,\"n\":1,\"q\":2,\"e\":\"members\",\"voters\":\"{escaped}\"}}\n\
         {{\"t\":3,\"n\":0,\"q\":3,\"e\":\"mark\",\"what\":\"test\",\"text\":\"{escaped}\"}}\n\
         {{\"t\":3,\"n\":0,\"q\":3,\"e\":\"mark\",\"what\":\"test\",\"text\":\"{escaped}\"}}\n\
         {{\"t\":4,\"n\":0,\"q\":4,\"e\":\"fault\",\"what\":\"{escaped}\",\"nodes\":[1,\"{escaped}\"]}}\n\
         {{\"t\":5,\"n\":0,\"q\":5,\"e\":\"violation\",\"rule\":\"{escaped}\",\"text\":\"{escaped}\"}}\n\
         {evil}\n"
    );
    let page = page(&dir, "evil", &trace);
    browser.open(&page, "");
    for _ in 0..12 {
        browser.key("ArrowRight");
    }
    browser.eval("lab.search('script')");
    browser.key("t");
    browser.open(&page, &format!("#t=1&tab={evil}&n={evil}"));
    assert_eq!(browser.eval("typeof window.owned"), "undefined");
    assert_eq!(browser.eval("document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.eval("document.scripts.length"), 3);
    // Even a script that got in would not run: the page allows its own by its hash.
    browser.eval("(() => { const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s); })()");
    assert_eq!(browser.eval("typeof window.owned"), "undefined");
    let blocked: Vec<_> = browser.errors.drain(..).collect();
    assert!(blocked.iter().all(|error| error.contains("Content Security Policy")), "{blocked:#?}");
    assert!(!blocked.is_empty(), "the policy says what it refused");
}

#[test]
fn foreign_logs_become_tables_with_their_tests() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = TempDir::new().unwrap();
    browser.open(&page_of(&dir, &sample("eliben.log")), "");
    assert_eq!(browser.eval("lab.tab"), "table");
    let heading = browser.text("document.querySelector('#events thead').textContent");
    assert_eq!(heading, "timeTEST[0][1][2]");
    assert_eq!(browser.eval("document.querySelectorAll('#tests option').length"), 4);
    let colours = "[...document.querySelectorAll('tr.becomes-leader')].length";
    assert_eq!(browser.eval(colours), 4);
    browser.eval("lab.chooseTest(1)");
    let shown = browser.text("document.querySelector('#events').innerText");
    assert!(shown.contains("FAIL TestPutThenGet") && !shown.contains("Disconnect 1"), "{shown}");
    browser.key("t");
    assert_eq!(browser.eval("lab.painter.stats.lanes"), 3, "and lanes by role");
    for name in ["students.log", "raft-consensus.log"] {
        browser.open(&page_of(&dir, &sample(name)), "");
        assert_eq!(browser.eval("document.querySelectorAll('#events th').length"), 4, "{name}");
    }
    browser.no_errors();
}

/// Pictures of any trace: for the README, and to look at.
/// `LAB_TRACE=FILE LAB_PICTURES=DIR cargo test -p raft-lab pictures -- --ignored`
#[test]
#[ignore = "makes pictures, on request"]
fn pictures() {
    let (Ok(trace), Ok(to)) = (std::env::var("LAB_TRACE"), std::env::var("LAB_PICTURES")) else {
        return;
    };
    let Some(mut browser) = Browser::start() else { return };
    let (dir, to) = (TempDir::new().unwrap(), PathBuf::from(to));
    let page = page_of(&dir, &trace);
    browser.size(1400, 860);
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        browser.open(&page, "");
        browser.picture(&to.join(format!("{scheme}.png")));
        browser.eval("lab.select(Math.floor(lab.model.count / 2))");
        for _ in 0..9 {
            browser.key("+");
        }
        browser.key("ArrowRight");
        browser.picture(&to.join(format!("{scheme}-zoomed.png")));
        browser.key("t");
        browser.picture(&to.join(format!("{scheme}-table.png")));
        browser.key("t");
    }
    browser.no_errors();
}
