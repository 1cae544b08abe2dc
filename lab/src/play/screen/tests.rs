use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::play::game::Ground;

fn begin() -> (Table, Screen) {
    let table = Table::new(Ground::Simulator(1), "none.html".into());
    (table, Screen::new(false, Depth::Full))
}

fn press(screen: &mut Screen, table: &mut Table, code: KeyCode) {
    assert!(screen.key(KeyEvent::from(code), table).unwrap());
}

fn typed(screen: &mut Screen, table: &mut Table, line: &str) -> bool {
    line.chars().for_each(|c| press(screen, table, KeyCode::Char(c)));
    screen.key(KeyEvent::from(KeyCode::Enter), table).unwrap()
}

/// The picture, a line of it for each of the terminal.
fn seen(screen: &Screen, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(usize::from(width));
    lines
        .map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n")
        .collect()
}

#[test]
fn nodes_logs_files_and_events_are_on_the_screen_while_time_passes() {
    let (mut table, mut screen) = begin();
    assert!(seen(&screen, (100, 30)).contains("create 3 makes a cluster"));
    for line in ["create 3", "elect 1", "set a 1", "bogus", "crash 3"] {
        assert!(typed(&mut screen, &mut table, line));
    }
    let picture = seen(&screen, (100, 30));
    for words in [
        "★ node 1 leader",
        "• node 2 follower",
        "✗ node 3 down",
        "log 1..",
        "▸┃╎",
        "[1 112K]",
        "> set a 1",
        "a = 1",
        "no command",
        "fault",
    ] {
        assert!(picture.contains(words), "{words} in\n{picture}");
    }
    let before = table.game.micros();
    screen.pass(FRAME, &mut table);
    assert_eq!(table.game.micros(), before + 5000, "ten percent of the wall's time");
    press(&mut screen, &mut table, KeyCode::Char('+'));
    screen.pass(FRAME, &mut table);
    assert_eq!(table.game.micros(), before + 5000 + 12_500);
    press(&mut screen, &mut table, KeyCode::Char(' '));
    screen.pass(FRAME, &mut table);
    assert_eq!(table.game.micros(), before + 5000 + 12_500, "it stands");
    assert!(seen(&screen, (100, 30)).contains("time stands"));
}

#[test]
fn it_fits_any_terminal() {
    let (mut table, mut screen) = begin();
    typed(&mut screen, &mut table, "create 9");
    for size in [(1, 1), (2, 2), (20, 5), (300, 3), (3, 300), (80, 24), (200, 50)] {
        seen(&screen, size);
    }
    let small = seen(&screen, (80, 24));
    for words in ["node 9", "said", "> ▏"] {
        assert!(small.contains(words), "{words} in\n{small}");
    }
    let large = seen(&screen, (200, 50));
    assert!(large.contains("[1 112K]") && large.contains("happened"), "{large}");
}

#[test]
fn lines_come_back_words_are_completed_and_the_last_key_leaves() {
    let (mut table, mut screen) = begin();
    typed(&mut screen, &mut table, "help");
    press(&mut screen, &mut table, KeyCode::Up);
    assert_eq!(screen.input, "help");
    press(&mut screen, &mut table, KeyCode::Backspace);
    assert_eq!(screen.input, "hel");
    press(&mut screen, &mut table, KeyCode::Esc);
    assert_eq!(screen.input, "");
    "dis".chars().for_each(|c| press(&mut screen, &mut table, KeyCode::Char(c)));
    press(&mut screen, &mut table, KeyCode::Tab);
    assert_eq!(screen.input, "disconnect ");
    press(&mut screen, &mut table, KeyCode::Esc);
    "re".chars().for_each(|c| press(&mut screen, &mut table, KeyCode::Char(c)));
    press(&mut screen, &mut table, KeyCode::Tab);
    assert!(screen.said.back().unwrap().contains("reconnect restart"), "{:?}", screen.said);
    press(&mut screen, &mut table, KeyCode::Esc);
    assert!(!typed(&mut screen, &mut table, "stop"));
    let leave = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!screen.key(leave, &mut table).unwrap());
}
