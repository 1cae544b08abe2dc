//! What is done to a cluster while clients use it, one thing at a time, each for a while.

use std::{collections::BTreeMap, fmt, thread::sleep, time::Duration};

use hardlog_kv::local::proxy::{Proxy, Rule};

use crate::{
    harness::{TestCluster, info},
    rng::Rng,
};

/// The things that can happen.
const KINDS: [&str; 12] = [
    "leader killed",
    "node killed",
    "all killed",
    "leader stopped",
    "node stopped",
    "leader held",
    "leader cut off",
    "leader unheard",
    "leader deaf",
    "two apart",
    "slow links",
    "torn frames",
];

#[derive(Debug)]
pub(super) struct Faults {
    rng: Rng,
    /// Those of [`KINDS`] that have yet to come before any comes again.
    bag: Vec<&'static str>,
    happened: BTreeMap<&'static str, u64>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), bag: Vec::new(), happened: BTreeMap::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.happened.values().sum()
    }

    /// Lets one thing happen, undoes it, and gives the cluster a moment.
    pub(super) fn one(&mut self, cluster: &mut TestCluster, proxy: &Proxy) {
        if self.bag.is_empty() {
            self.bag = KINDS.to_vec();
        }
        let at = usize::try_from(self.rng.below(self.bag.len() as u64)).unwrap();
        let kind = self.bag.swap_remove(at);
        *self.happened.entry(kind).or_default() += 1;
        let any = 1 + self.rng.below(3);
        let node = if kind.starts_with("leader") { leader(cluster).unwrap_or(any) } else { any };
        let other = 1 + node % 3;
        match kind {
            "leader killed" | "node killed" => {
                cluster.nodes.kill(node).unwrap();
                self.last();
                cluster.nodes.start(node).unwrap();
            }
            "all killed" => {
                (1..=3).for_each(|id| cluster.nodes.kill(id).unwrap());
                cluster.nodes.start_all().unwrap();
            }
            "leader stopped" | "node stopped" => {
                cluster.signal(node, "-STOP");
                self.last();
                cluster.signal(node, "-CONT");
            }
            "leader held" => proxy.set_around(node, true, true, Rule::Hold),
            "leader cut off" => proxy.set_around(node, true, true, Rule::Cut),
            "leader unheard" => proxy.set_around(node, true, false, Rule::Hold),
            "leader deaf" => proxy.set_around(node, false, true, Rule::Hold),
            "two apart" => {
                proxy.set(node, other, Rule::Cut);
                proxy.set(other, node, Rule::Cut);
            }
            "slow links" => {
                let pause = Duration::from_millis(5 + self.rng.below(40));
                (1..=3).for_each(|id| proxy.set_around(id, true, false, Rule::Slow(pause)));
            }
            _ => (1..=3).for_each(|id| proxy.set_around(id, true, false, Rule::Tear)),
        }
        if !kind.ends_with("killed") && !kind.ends_with("stopped") {
            self.last();
            proxy.heal();
        }
        sleep(Duration::from_millis(100 + self.rng.below(400)));
    }

    /// As long as a fault lasts: shorter and longer than an election takes.
    fn last(&mut self) {
        sleep(Duration::from_millis(200 + self.rng.below(1200)));
    }
}

fn leader(cluster: &TestCluster) -> Option<u64> {
    (1..=3).find(|id| info(cluster.address(*id), "role").as_deref() == Some("leader"))
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} faults (", self.count())?;
        for (n, (kind, count)) in self.happened.iter().enumerate() {
            write!(f, "{}{kind} {count}", if n == 0 { "" } else { ", " })?;
        }
        write!(f, ")")
    }
}
