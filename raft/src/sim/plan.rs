//! What a seed draws before anything happens: the cluster, its limits, its network, its disks, its
//! clients, and which faults may befall it. Anything may be absent: a run in which everything goes
//! wrong at once hides what one fault alone would show.

use std::time::Duration;

use hardlog::{
    Options,
    fs::{
        SyncPoint,
        sim::{Model, Rng},
    },
};

use super::{
    Micros,
    client::Habits,
    network::{Weather, between, chance},
    operator::Churn,
    play::Wrong,
    stage::Setting,
};
use crate::{
    config::{Config, Mutation},
    sessions::Limits,
    trace::Tracer,
};

/// What can befall a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One node is cut off, or the cluster falls in two.
    Partition,
    /// One direction between two nodes, or both, or all directions of one node one way.
    Link,
    /// What is sent over a link waits for a while.
    Clog,
    /// All links are mended.
    Heal,
    /// The power of one node fails.
    Power,
    /// A process is killed.
    Kill,
    /// The leader ends, stands still, or nobody hears it any more.
    Leader,
    /// Several or all nodes end at once.
    Many,
    /// The power fails at one of the next calls of the file system.
    Cut,
    /// A node stands still for a while.
    Pause,
    /// A disk is slow, or answers no sync for a while.
    Slow,
    /// A call of the file system fails.
    Fail,
    /// A disk is full.
    Full,
    /// A disk loses, garbles or misplaces bytes.
    Damage,
    /// Disks work again and have room.
    Mend,
    /// Snapshots are taken, due or not.
    Snapshots,
    /// A disk is replaced by an empty one.
    Wipe,
    /// A disk is copied, and later put back to that copy.
    RollBack,
    /// Somebody changes who takes part.
    Members,
    /// Somebody hands the leadership over.
    Transfer,
}

impl Kind {
    const ALL: [Self; 20] = [
        Self::Partition,
        Self::Link,
        Self::Clog,
        Self::Heal,
        Self::Power,
        Self::Kill,
        Self::Leader,
        Self::Many,
        Self::Cut,
        Self::Pause,
        Self::Slow,
        Self::Fail,
        Self::Full,
        Self::Damage,
        Self::Mend,
        Self::Snapshots,
        Self::Wipe,
        Self::RollBack,
        Self::Members,
        Self::Transfer,
    ];
}

/// A bug that is put in on purpose, to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// One in the protocol.
    Core(Mutation),
    /// A sync that is left out.
    Omitted(SyncPoint),
}

impl Bug {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 10] = [
        ("ack-before-sync", Self::Omitted(SyncPoint::Batches)),
        ("self-vote-not-persisted", Self::Core(Mutation::SelfVoteNotSaved)),
        ("vote-reset-on-step-down", Self::Core(Mutation::VoteForgotten)),
        ("commit-over-unsorted-progress", Self::Core(Mutation::UnsortedQuorum)),
        ("commit-of-old-term-by-counting", Self::Core(Mutation::OldTermCounted)),
        ("change-before-own-commit", Self::Core(Mutation::ChangeBeforeOwnCommit)),
        ("truncation-on-stale-append", Self::Core(Mutation::StaleTruncates)),
        ("next-taken-for-match", Self::Core(Mutation::NextTakenForMatch)),
        ("mark-before-snapshot-file", Self::Omitted(SyncPoint::Snapshot)),
        ("directory-sync-left-out", Self::Omitted(SyncPoint::SuccessorName)),
    ];
}

/// A run before it begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) setting: Setting,
    pub(super) habits: Habits,
    /// Faults that may happen, each as often as it is likely.
    pub(super) kinds: Vec<Kind>,
    /// Shortest and longest time between two faults.
    pub(super) gap: (Micros, Micros),
    /// How long faults go on.
    pub(super) length: Micros,
    /// What an operator is likely to do.
    pub(super) churn: Churn,
    /// Commands of clients are applied once, however often they are sent: how much is remembered.
    pub(super) sessions: Option<Limits>,
    /// Only a majority stays when the faults end.
    pub(super) core_only: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng, bug: Option<Bug>) -> Self {
        let mut kinds = Vec::new();
        for kind in Kind::ALL {
            let weight = if chance(rng, 500) { 0 } else { 1 + rng.below(4) };
            kinds.extend(std::iter::repeat_n(kind, weight));
        }
        let fast = chance(rng, 500);
        let plan = Self {
            setting: setting(rng, bug),
            habits: habits(rng),
            kinds,
            gap: if fast { (5_000, 300_000) } else { (100_000, 1_500_000) },
            length: between(rng, (3_000_000, 8_000_000)),
            churn: Churn::Any,
            sessions: chance(rng, 500).then(|| limits(rng)),
            core_only: chance(rng, 300),
        };
        let course = match (rng.below(100), bug) {
            // It shows in one course of events alone, and there seldom: all its seeds go there.
            (_, Some(Bug::Core(Mutation::ChangeBeforeOwnCommit))) => 10,
            (drawn, _) => drawn,
        };
        let plan = match course {
            0..10 => plan.figure_8(rng),
            10..20 => plan.two_changes(rng),
            20..35 => plan.much_churn(),
            35..55 => plan.lease(rng),
            _ => plan,
        };
        Self { habits: Habits { sessions: plan.sessions.is_some(), ..plan.habits }, ..plan }
    }

    /// What Figure 8 of the paper needs and other plans hardly ever bring together: leaders that are
    /// lost with entries that few have, again and again, and hardly a new command in between.
    fn figure_8(mut self, rng: &mut Rng) -> Self {
        let config = &mut self.setting.config;
        (config.pre_vote, config.check_quorum, config.leader_no_op) = (false, false, false);
        self.setting.size = if chance(rng, 500) { 3 } else { 5 };
        self.setting.snapshot_every_bytes = 1 << 30;
        self.setting.restart_after = (10_000, 400_000);
        self.setting.weather.loss = between(rng, (0, 400));
        self.habits.clients = 1 + rng.next_u64() % 2;
        self.habits.pause = (30_000, 300_000);
        self.habits.reads = 0;
        self.sessions = None;
        self.kinds = vec![Kind::Leader, Kind::Leader, Kind::Leader, Kind::Heal];
        self.gap = (50_000, 700_000);
        self.length = 15_000_000;
        self
    }

    /// What the flaw of 2015 in single-server changes needs: two leaders, one after the other, that
    /// each remove another node of an even number, and few that hear of either.
    fn two_changes(mut self, rng: &mut Rng) -> Self {
        let config = &mut self.setting.config;
        (config.check_quorum, config.pre_vote) = (false, false);
        config.leader_no_op = chance(rng, 200);
        self.setting.size = 4;
        self.setting.snapshot_every_bytes = 1 << 30;
        self.setting.restart_after = (10_000, 300_000);
        if chance(rng, 800) {
            (self.setting.weather.loss, self.setting.weather.reply_loss) = (0, 0);
        }
        self.habits.clients = 1;
        self.habits.pause = (500_000, 2_000_000);
        self.habits.reads = 0;
        self.churn = Churn::AroundFour;
        self.kinds = vec![Kind::Leader, Kind::Partition, Kind::Partition];
        self.kinds.extend([Kind::Link, Kind::Link, Kind::Heal, Kind::Heal]);
        self.kinds.extend([Kind::Members; 4]);
        self.gap = (50_000, 600_000);
        self.length = 12_000_000;
        self
    }

    /// Who takes part changes all the time.
    fn much_churn(mut self) -> Self {
        self.kinds.extend([Kind::Members; 8]);
        self.kinds.push(Kind::Transfer);
        self.length = 10_000_000;
        self
    }

    /// Something is done wrong on purpose, where it may show.
    pub(super) fn go_wrong(&mut self, wrong: Wrong) {
        match wrong {
            Wrong::LocalReads => {
                self.habits.local_reads = true;
                self.habits.reads = 50;
            }
            Wrong::Drift => self.break_lease(),
            Wrong::Identity => {
                self.setting.identity_checks = false;
                self.kinds.extend([Kind::Wipe, Kind::Wipe, Kind::RollBack, Kind::Leader]);
            }
            Wrong::Retries => {
                self.sessions = Some(Limits::default());
                self.habits.sessions = true;
                self.habits.plain_retries = true;
            }
        }
    }

    /// Reads by lease, with clocks that run apart as far as the lease allows for.
    fn lease(mut self, rng: &mut Rng) -> Self {
        let (percent, rates) =
            [(10, (960, 1040)), (20, (900, 1100)), (40, (800, 1250))][rng.below(3)];
        self.setting.config.check_quorum = true;
        self.setting.config.lease_drift_percent = Some(percent);
        self.setting.rates = rates;
        self.habits.reads = 60;
        self
    }

    /// The same with clocks that run apart much further than the lease allows for.
    fn break_lease(&mut self) {
        let config = &mut self.setting.config;
        (config.check_quorum, config.lease_drift_percent) = (true, Some(10));
        self.setting.rates = (600, 2000);
        (self.habits.clients, self.habits.reads) = (8, 60);
        self.habits.patience = 60_000;
        self.setting.config.pre_vote = false;
        self.setting.weather = Weather::fine();
        self.setting.size = 3;
        (self.setting.sync_time, self.setting.lag) = ((100, 1_000), 0);
        self.habits.pause = (1_000, 8_000);
        self.kinds = vec![Kind::Leader, Kind::Partition, Kind::Link, Kind::Heal, Kind::Heal];
        self.gap = (100_000, 600_000);
        self.length = 10_000_000;
    }
}

fn limits(rng: &mut Rng) -> Limits {
    Limits {
        sessions_max: [2, 8, 64][rng.below(3)],
        replies_max: 1 + rng.below(4),
        reply_bytes_max: 64,
    }
}

fn setting(rng: &mut Rng, bug: Option<Bug>) -> Setting {
    let size = [3, 3, 3, 3, 5, 5, 2, 4, 1][rng.below(9)];
    let mut options = Options::new()
        .background(false)
        .segment_size(if chance(rng, 700) { 32 << 10 } else { 128 << 10 })
        .snapshot_chunk(4096);
    let mut config = config(rng);
    match bug {
        Some(Bug::Core(mutation)) => config.mutation = Some(mutation),
        Some(Bug::Omitted(point)) => options = options.omit_sync(point),
        None => {}
    }
    let slow = chance(rng, 300);
    Setting {
        size,
        config,
        options,
        snapshot_every_bytes: [300, 2000, 20_000, 1 << 30][rng.below(4)],
        keep_behind: [0, 1, 5, 50][rng.below(4)],
        rates: if chance(rng, 500) { (1000, 1000) } else { (800, 1250) },
        identity_checks: true,
        weather: weather(rng),
        sync_time: if slow { (1_000, 30_000) } else { (100, 3_000) },
        lag: [0, 0, 500, 5_000][rng.below(4)],
        model: if chance(rng, 600) { Model::Strict } else { Model::Journal },
        restart_after: if chance(rng, 500) { (10_000, 200_000) } else { (100_000, 3_000_000) },
        count_bytes: false,
        text: false,
        tracer: Tracer::off_in_virtual_time(),
    }
}

fn config(rng: &mut Rng) -> Config {
    let profile = if chance(rng, 700) { Config::production() } else { Config::classic() };
    let mut config = Config {
        tick: Duration::from_millis(20),
        snapshot_chunk_bytes: [24, 64, 4096][rng.below(3)],
        // With a command they must fit a batch, which is half of a small segment.
        unsaved_bytes_max: 6000,
        append_bytes_max: 4000,
        ..profile
    };
    if chance(rng, 300) {
        config.pre_vote = !config.pre_vote;
    }
    if chance(rng, 300) {
        config.check_quorum = !config.check_quorum;
    }
    if chance(rng, 500) {
        config.append_bytes_max = between(rng, (30, 1000));
        config.inflight_max = 1 + rng.below(4);
        config.inflight_bytes_max = between(rng, (100, 4000));
        config.unsaved_bytes_max = between(rng, (200, 4000));
        config.uncommitted_bytes_max = between(rng, (400, 10_000));
    }
    config
}

fn weather(rng: &mut Rng) -> Weather {
    let mut rate = |max: u64| if chance(rng, 500) { 0 } else { rng.next_u64() % max };
    let (loss, reply_loss, doubled) = (rate(200), rate(200), rate(100));
    let (late, reply_late) = (rate(300), rate(100));
    let delay = [(50, 500), (500, 5_000), (1_000, 30_000)][rng.below(3)];
    Weather { delay, loss, reply_loss, doubled, late, reply_late }
}

fn habits(rng: &mut Rng) -> Habits {
    Habits {
        clients: 1 + rng.next_u64() % 5,
        keys: 1 + rng.next_u64() % 4,
        pause: [(1_000, 20_000), (5_000, 80_000)][rng.below(2)],
        reads: [0, 30, 60][rng.below(3)],
        padding: [0, 50, 600][rng.below(3)],
        patience: 1_500_000,
        sessions: false,
        plain_retries: false,
        local_reads: false,
    }
}
