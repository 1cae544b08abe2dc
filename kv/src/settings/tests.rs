use super::*;

const PEERS: &str = "1=127.0.0.1:1@2,2=127.0.0.1:3@4";

fn flags(arguments: &[&str]) -> Settings {
    Alone::try_parse_from(arguments).unwrap().settings
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// What comes of a file and an environment besides the least that must be said.
fn with(file: &str, variables: &[(&str, &str)], more: &[&str]) -> Result<NodeSettings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, file).unwrap();
    let mut arguments = vec!["--id=1", "--dir=d", "--peers", PEERS];
    arguments.extend(more);
    gather(flags(&arguments), Some(&path), environment(variables).into_iter())
}

#[test]
fn a_flag_counts_before_the_environment_and_that_before_the_file() {
    let file = "max-clients = 1\ntick = 10\nkeep-behind = 7\n";
    let variables = [("HARDLOG_KV_MAX_CLIENTS", "2"), ("HARDLOG_KV_TICK", "20"), ("HOME", "x")];
    let settings = with(file, &variables, &["--max-clients=3"]).unwrap();
    assert_eq!(settings.clients_max, 3);
    assert_eq!(settings.tick, Duration::from_millis(20));
    assert_eq!((settings.keep_behind, settings.segment_bytes), (7, 64 << 20));
    assert!(!settings.create && !settings.insecure && settings.http.is_none());
    assert_eq!(settings.listen, "127.0.0.1:1".parse().unwrap());
    assert_eq!(settings.raft_listen, "127.0.0.1:2".parse().unwrap());
    assert_eq!(settings.lease_drift_percent, None);
    let settings = with("lease-drift = 5\nraft-listen = \"127.0.0.1:9\"\n", &[], &[]).unwrap();
    assert_eq!(settings.raft_listen, "127.0.0.1:9".parse().unwrap());
    assert_eq!(settings.lease_drift_percent, Some(5));
}

#[test]
fn everything_may_stand_in_the_file_and_the_environment_may_name_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let file = format!(
        "id = 2\ndir = \"data\"\npeers = {:?}\ncreate = true\ncluster = \"2a\"\n\
         http = \"127.0.0.1:0\"\nsnapshot-every = 1\nsegment = 8\nstop-timeout = 9\n",
        PEERS.split(',').collect::<Vec<_>>()
    );
    std::fs::write(&path, file).unwrap();
    let variables = environment(&[("HARDLOG_KV_CONFIG", path.to_str().unwrap())]);
    let settings = gather(Settings::default(), None, variables.into_iter()).unwrap();
    assert_eq!((settings.id, settings.cluster, settings.create), (2, 0x2a, true));
    assert_eq!((settings.snapshot_every_bytes, settings.segment_bytes), (1 << 20, 8 << 20));
    assert_eq!(settings.stop_timeout, Duration::from_secs(9));
    assert_eq!(settings.peers, PEERS.parse().unwrap());
    let flag = flags(&["--create=false"]);
    let variables = environment(&[("HARDLOG_KV_CONFIG", path.to_str().unwrap())]);
    assert!(!gather(flag, None, variables.into_iter()).unwrap().create);
}

#[test]
fn an_unknown_name_is_an_error_wherever_it_stands() {
    for name in ["max_clients", "nonsense", "config", "stop-with-stdin", "help", "x y", "Tick", ""]
    {
        let error = with(&format!("{name:?} = \"1\"\n"), &[], &[]).unwrap_err();
        assert!(error.contains("node.toml: ") && error.contains(name), "{name}: {error}");
    }
    let error = with("", &[("HARDLOG_KV_NONSENSE", "1")], &[]).unwrap_err();
    assert!(error.contains("environment") && error.contains("--nonsense"), "{error}");
    assert!(Alone::try_parse_from(["--nonsense=1"]).is_err());
}

#[test]
fn a_value_that_makes_no_sense_is_an_error_with_its_place() {
    for (line, part) in [
        ("tick = 0", "--tick"),
        ("tick = \"fast\"", "--tick"),
        ("max-clients = -1", "--max-clients"),
        ("lease-drift = 51", "--lease-drift"),
        ("create = \"maybe\"", "--create"),
        ("peers = [1]", "peers is no list"),
        ("tick = 1.5", "tick is neither"),
        ("[tick]", "tick is neither"),
        ("tick =", "line 1"),
        ("tick = 1\ntick = 2", "duplicate key"),
    ] {
        let error = with(line, &[], &[]).unwrap_err();
        assert!(error.contains("node.toml: ") && error.contains(part), "{line}: {error}");
    }
    let error = with("", &[("HARDLOG_KV_TICK", "0")], &[]).unwrap_err();
    assert!(error.contains("environment") && error.contains("--tick"), "{error}");
}

#[test]
fn what_is_missing_or_does_not_fit_is_said() {
    let none = || Vec::new().into_iter();
    let error = |arguments: &[&str]| gather(flags(arguments), None, none()).unwrap_err();
    assert!(error(&[]).contains("id is not set"));
    assert!(error(&["--id=1"]).contains("peers is not set"));
    assert!(error(&["--id=3", "--peers", PEERS]).contains("does not name node 3"));
    assert!(error(&["--id=1", "--peers", PEERS]).contains("dir is not set"));
    for beyond in ["--listen=0.0.0.0:1", "--http=0.0.0.0:1"] {
        let arguments = ["--id=1", "--dir=d", "--peers", PEERS, beyond];
        assert!(error(&arguments).contains("insecure"), "{beyond}");
        let arguments = [&arguments[..], &["--insecure"]].concat();
        assert!(gather(flags(&arguments), None, none()).is_ok(), "{beyond}");
    }
    let half = ["--id=1", "--dir=d", "--peers", PEERS, "--tls-key=k"];
    assert!(error(&half).contains("go together"));
    let gone = gather(Settings::default(), Some(Path::new("/nonexistent/node.toml")), none());
    assert!(gone.unwrap_err().contains("/nonexistent/node.toml: "));
}

#[test]
fn whatever_the_log_must_take_at_once_fits_half_a_file_of_it() {
    for segment in [4, 5, 63, 64, 65, 1024] {
        let settings = with("", &[], &[&format!("--segment={segment}")]).unwrap();
        let command = settings.command_bytes_max();
        let most = command + settings.unsaved_bytes_max() + settings.append_bytes_max();
        let batch_max = (settings.segment_bytes / 2).min(32 << 20);
        assert!(most + (1 << 16) <= batch_max, "{segment}: {most}");
        assert_eq!(command, (segment << 20 >> 2).min(16 << 20));
    }
}
