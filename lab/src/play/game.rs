//! A cluster that is played with: what each command does to it.
//!
//! Above: whoever reads lines. Below: a world, simulated or of processes, which is all that differs
//! between the two.
//!
//! What cannot be done is an error that says why.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    command::{self, Command, Expect, NODES_MAX, WORDS},
    real::{self, Real},
    show,
    simulated::Simulated,
    world::{Birth, View, World},
};

/// Time that passes after a command that takes none itself, in microseconds.
const SIMULATED_PACE: u64 = 1_000_000;
/// The same where somebody waits for it.
const REAL_PACE: u64 = 300_000;

/// What a command led to.
pub(super) enum Outcome {
    /// Words, perhaps none.
    Done(String),
    /// The timeline is to be written there.
    Write(Option<String>),
    /// No more lines are read.
    Stop,
}

/// Where a cluster lives.
pub(super) enum Ground {
    /// In virtual time; runs are drawn from this number.
    Simulator(u64),
    /// On this machine.
    Processes(real::Place),
}

/// What somebody plays with.
pub(super) struct Game {
    ground: Ground,
    world: Option<Box<dyn World>>,
    pace: u64,
    names: BTreeMap<String, usize>,
}

impl Game {
    pub(super) fn new(ground: Ground) -> Self {
        let pace = match ground {
            Ground::Simulator(_) => SIMULATED_PACE,
            Ground::Processes(_) => REAL_PACE,
        };
        Self { ground, world: None, pace, names: BTreeMap::new() }
    }

    /// The trace so far.
    pub(super) fn trace(&self) -> Result<Vec<u8>, String> {
        self.world.as_ref().map_or(Ok(Vec::new()), |world| world.trace())
    }

    /// Lines of the trace that were not asked for before.
    pub(super) fn news(&mut self) -> Vec<u8> {
        self.world.as_mut().map(|world| world.news()).unwrap_or_default()
    }

    /// Names of nodes, for completion.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    /// How many nodes there are.
    pub(super) fn size(&self) -> usize {
        self.world.as_ref().map_or(0, |world| world.size())
    }

    /// Every node as it is now, with its last entries.
    pub(super) fn views(&mut self) -> Vec<View> {
        self.world.as_mut().map(|world| world.views(true)).unwrap_or_default()
    }

    /// Microseconds since the cluster was made.
    pub(super) fn micros(&self) -> u64 {
        self.world.as_ref().map_or(0, |world| world.micros())
    }

    /// Whether time passes by itself.
    pub(super) fn is_real(&self) -> bool {
        matches!(self.ground, Ground::Processes(_))
    }

    /// Time passes.
    pub(super) fn pass(&mut self, micros: u64) -> Result<(), String> {
        self.world()?.pass(micros)
    }

    /// The cluster ends, if there is one.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.names.clear();
        self.world.take().map_or(Ok(()), |world| world.end())
    }

    pub(super) fn run(&mut self, command: Command) -> Result<Outcome, String> {
        let text = match command {
            Command::Nothing => String::new(),
            Command::Help => help(),
            Command::Stop => return Ok(Outcome::Stop),
            Command::Write(to) => {
                self.world()?;
                return Ok(Outcome::Write(to));
            }
            Command::Create(birth) => self.create(birth)?,
            Command::Shutdown => {
                self.world()?;
                self.end()?;
                "the cluster ended\n".to_owned()
            }
            Command::Pace(pace) => {
                self.pace = pace;
                String::new()
            }
            Command::Patience(patience) => {
                self.world()?.set_patience(patience);
                String::new()
            }
            Command::Say(words) => {
                if let Some(world) = &self.world {
                    world.note(&words);
                }
                format!("# {words}\n")
            }
            Command::Expect(expect) => self.expect(expect)?,
            Command::Name { name, node } => {
                let node = self.node(&node)?;
                self.names.insert(name.clone(), node);
                format!("{name} is node {}\n", node + 1)
            }
            Command::Leader => match self.world()?.leader() {
                Some(leader) => format!("node {} leads\n", leader + 1),
                None => "nobody leads\n".to_owned(),
            },
            Command::Log => show::logs(&self.world()?.views(true)),
            other => self.play(other)?,
        };
        Ok(Outcome::Done(text))
    }

    /// Whatever shows every node behind it.
    fn play(&mut self, command: Command) -> Result<String, String> {
        let pace = self.pace;
        let all = command == Command::State;
        let text = match command {
            Command::Set { key, value, node } => {
                let node = node.map(|node| self.node(&node)).transpose()?;
                self.world()?.set(&key, &value, node)?
            }
            Command::Get { key, node } => {
                let node = node.map(|node| self.node(&node)).transpose()?;
                match self.world()?.get(&key, node)? {
                    Some(value) => format!("{key} = {value}\n"),
                    None => format!("{key} has no value\n"),
                }
            }
            Command::Each(deed, nodes) => {
                let nodes = self.nodes(&nodes)?;
                let world = self.world()?;
                let mut said = String::new();
                for node in nodes {
                    said.push_str(&world.deed(deed, node)?);
                }
                world.pass(pace)?;
                said
            }
            Command::Rot { node, index } => {
                let node = self.node(&node)?;
                let index = command::number(&index)
                    .map_err(|why| why.unwrap_or_else(|| "an index is a number".to_owned()))?;
                let world = self.world()?;
                let said = world.rot(node, index)?;
                world.pass(pace)?;
                said
            }
            Command::Add(nodes) => self.add(&nodes)?,
            Command::Partition(groups) => {
                let groups = groups.iter().map(|group| self.nodes(group));
                let groups: Vec<Vec<usize>> = groups.collect::<Result<_, String>>()?;
                let world = self.world()?;
                world.partition(&groups)?;
                world.pass(pace)?;
                String::new()
            }
            Command::Heal => {
                let world = self.world()?;
                world.heal()?;
                world.pass(pace)?;
                String::new()
            }
            Command::Wait(time) => {
                self.world()?.pass(time)?;
                String::new()
            }
            _ => String::new(),
        };
        let world = self.world()?;
        let views = world.views(false);
        Ok(text + &show::table(world.micros(), &views, all))
    }

    fn create(&mut self, birth: Birth) -> Result<String, String> {
        if self.world.is_some() {
            return Err("there is a cluster; `shutdown` ends it".to_owned());
        }
        let mut world: Box<dyn World> = match &mut self.ground {
            Ground::Simulator(seed) => {
                *seed = birth.seed.unwrap_or(*seed);
                Box::new(Simulated::create(birth, *seed)?)
            }
            Ground::Processes(place) => Box::new(Real::create(birth, place)?),
        };
        let views = world.views(false);
        let text = show::table(world.micros(), &views, false);
        self.world = Some(world);
        Ok(text)
    }

    fn add(&mut self, nodes: &[String]) -> Result<String, String> {
        let world = self.world()?;
        let next = (world.size() + 1).to_string();
        let nodes = if nodes.is_empty() { std::slice::from_ref(&next) } else { nodes };
        let mut said = String::new();
        for word in nodes {
            let next = world.size() + 1;
            if *word != next.to_string() {
                return Err(format!("the next node is {next}"));
            }
            if next > NODES_MAX {
                return Err(format!("a cluster has at most {NODES_MAX} nodes"));
            }
            said.push_str(&world.add()?);
        }
        Ok(said)
    }

    fn world(&mut self) -> Result<&mut dyn World, String> {
        match &mut self.world {
            Some(world) => Ok(world.as_mut()),
            None => Err("there is no cluster yet: `create 3`".to_owned()),
        }
    }

    fn nodes(&mut self, words: &[String]) -> Result<Vec<usize>, String> {
        words.iter().map(|word| self.node(word)).collect()
    }

    /// The node of a number or a name, counted from 0.
    fn node(&mut self, word: &str) -> Result<usize, String> {
        let named = self.names.get(word).copied();
        let world = self.world()?;
        if word == "leader" {
            return world.leader().ok_or_else(|| "nobody leads now".to_owned());
        }
        if let Some(node) = named {
            return Ok(node);
        }
        let size = world.size();
        let known = word.parse::<usize>().ok().filter(|node| (1..=size).contains(node));
        known.map(|node| node - 1).ok_or_else(|| format!("no node {word:?}: there are 1 to {size}"))
    }

    fn expect(&mut self, expect: Expect) -> Result<String, String> {
        let (what, expected, found) = match expect {
            Expect::Leader(node) => {
                let expected = match node.as_str() {
                    "none" => "nobody".to_owned(),
                    node => format!("node {}", self.node(node)? + 1),
                };
                let found = self.world()?.leader();
                let found = found.map_or("nobody".to_owned(), |node| format!("node {}", node + 1));
                ("the leader".to_owned(), expected, found)
            }
            Expect::Value { key, value } => {
                let found = self.world()?.get(&key, None)?.unwrap_or_else(|| "none".to_owned());
                (key, value, found)
            }
            Expect::Of { node, what, value } => {
                let node = self.node(&node)?;
                let view = self.world()?.views(false).into_iter().nth(node);
                let view = view.ok_or("no such node")?;
                let found = match what.as_str() {
                    "role" => view.part.name().to_owned(),
                    "term" => view.term.to_string(),
                    "commit" => view.commit.to_string(),
                    "applied" => view.applied.to_string(),
                    "last" => view.window.1.to_string(),
                    "first" => view.window.0.to_string(),
                    "segments" => view.files.len().to_string(),
                    "snapshot" => if view.snapshot > 0 { "some" } else { "none" }.to_owned(),
                    "verdict" => view.verdict.0,
                    _ => return Err(format!("nothing is known of the {what:?} of a node")),
                };
                (format!("the {what} of node {}", node + 1), value, found)
            }
        };
        if expected == found {
            return Ok(format!("✓ {what} is {found}\n"));
        }
        Err(format!("✗ {what} is {found}, expected {expected}"))
    }
}

fn help() -> String {
    let mut text = String::new();
    for (word, number, usage, what) in WORDS {
        let number = number.map(|number| number.to_string()).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number:>3} {:<46} {what}", format!("{word} {usage}"));
    }
    text.push_str("    NODE is a number, `leader`, or what `name` gave; # begins a remark\n");
    text
}
