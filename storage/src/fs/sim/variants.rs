//! What one file may hold after a power cut.
//!
//! Above: [`super::crash`], which combines files and names. Below: [`super::inode`].
//!
//! A [`Choice`] is a length and a content for each pending sector. Two choices that differ only in
//! bytes beyond the length are the same state; [`Variants::all`] and [`Variants::count`] count it once.

use std::collections::BTreeSet;

use super::{
    content::{Content, SECTOR, Sector},
    inode::Inode,
    rng::Rng,
};

/// What one file may hold.
#[derive(Debug)]
pub(super) struct Variants {
    durable: Content,
    /// Possible lengths, the durable one first.
    pub(super) lens: Vec<u64>,
    pub(super) newest_len: usize,
    /// Possible contents of each pending sector, the durable one first, and which is the newest.
    pub(super) sectors: Vec<(u64, Vec<Sector>, usize)>,
    pub(super) unreadable: BTreeSet<u64>,
}

/// The length and, for each pending sector, the content that survives: indexes into [`Variants`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Choice {
    pub(super) len: usize,
    pub(super) sectors: Vec<usize>,
}

impl Variants {
    pub(super) fn of(inode: &Inode) -> Self {
        let lens: Vec<u64> =
            std::iter::once(inode.durable.len).chain(inode.pending_lens.iter().copied()).collect();
        let newest_len = lens.iter().position(|len| *len == inode.live.len).unwrap_or(0);
        let sectors = inode.pending.iter().map(|(sector, newer)| {
            let now = inode.live.sector(*sector);
            let old = inode.durable.sector(*sector);
            let versions: Vec<Sector> = std::iter::once(old).chain(newer.iter().copied()).collect();
            let newest = versions.iter().position(|version| *version == now).unwrap_or(0);
            (*sector, versions, newest)
        });
        Self {
            durable: inode.durable.clone(),
            lens,
            newest_len,
            sectors: sectors.collect(),
            unreadable: inode.unreadable.clone(),
        }
    }

    /// The first version of a sector that looks like `version` as far as a length lets it be seen.
    fn first_alike(&self, len: u64, at: usize, version: usize) -> usize {
        let (sector, versions, _) = &self.sectors[at];
        let seen = len.saturating_sub(sector * SECTOR).min(SECTOR);
        let seen = usize::try_from(seen).expect("at most a sector");
        let alike = |other: &Sector| other[..seen] == versions[version][..seen];
        versions.iter().position(alike).unwrap_or(version)
    }

    /// The versions of a sector that differ as far as a length lets them be seen.
    fn distinct(&self, len: u64, at: usize) -> Vec<usize> {
        let all = 0..self.sectors[at].1.len();
        all.filter(|version| self.first_alike(len, at, *version) == *version).collect()
    }

    pub(super) fn count(&self) -> Option<u64> {
        self.lens.iter().try_fold(0u64, |sum, len| {
            let versions = (0..self.sectors.len()).map(|at| self.distinct(*len, at).len() as u64);
            sum.checked_add(versions.into_iter().try_fold(1u64, u64::checked_mul)?)
        })
    }

    /// All choices with distinct outcomes.
    pub(super) fn all(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        for (len, bytes) in self.lens.iter().enumerate() {
            let mut choices = vec![Choice { len, sectors: Vec::new() }];
            for at in 0..self.sectors.len() {
                let distinct = self.distinct(*bytes, at);
                choices = choices
                    .iter()
                    .flat_map(|choice| distinct.iter().map(move |version| choice.with(*version)))
                    .collect();
            }
            all.append(&mut choices);
        }
        all
    }

    pub(super) fn oldest(&self) -> Choice {
        Choice { len: 0, sectors: vec![0; self.sectors.len()] }
    }

    pub(super) fn newest(&self) -> Choice {
        let sectors = self.sectors.iter().map(|(_, _, newest)| *newest).collect();
        Choice { len: self.newest_len, sectors }
    }

    pub(super) fn random(&self, rng: &mut Rng) -> Choice {
        let len = rng.below(self.lens.len());
        let distinct = |at| self.distinct(self.lens[len], at);
        let sectors = (0..self.sectors.len()).map(|at| {
            let distinct = distinct(at);
            distinct[rng.below(distinct.len())]
        });
        Choice { len, sectors: sectors.collect() }
    }

    /// The choice that `all` has for the same outcome.
    pub(super) fn canonical(&self, choice: &Choice) -> Choice {
        let len = self.lens[choice.len];
        let same = |(at, version): (usize, &usize)| self.first_alike(len, at, *version);
        Choice { len: choice.len, sectors: choice.sectors.iter().enumerate().map(same).collect() }
    }

    pub(super) fn content(&self, choice: &Choice) -> Content {
        let mut content = self.durable.clone();
        for ((sector, versions, _), version) in self.sectors.iter().zip(&choice.sectors) {
            if *version > 0 {
                content.set_sector(*sector, &versions[*version]);
            }
        }
        content.cut(self.lens[choice.len]);
        content
    }
}

impl Choice {
    fn with(&self, version: usize) -> Self {
        let mut more = self.clone();
        more.sectors.push(version);
        more
    }
}
