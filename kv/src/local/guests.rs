//! Nodes that come to a cluster that runs already.
//!
//! The layer above is whoever adds a node; below is the cluster's file. A guest has ports and a
//! process, and no cluster: it waits until the leader is told of it (`RAFT ADD`). Only then is it
//! kept, so that a cluster that is opened again does not wait for a node that never joined.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use super::{LocalCluster, bind, file};
use crate::members::{Member, Members};

impl LocalCluster {
    /// Makes room for one more node and returns its number. Its next start makes it a node without
    /// a cluster; afterwards it is [kept](Self::keep) or [sent away](Self::send_away).
    ///
    /// # Errors
    /// What the network said.
    pub fn invite(&mut self) -> io::Result<u64> {
        let id = self.file.members.iter().map(|(id, _)| id).max().unwrap_or(0) + 1;
        let [http, client, raft] = [bind(0)?, bind(0)?, bind(0)?];
        let (client_port, raft_port) = (client.local_addr()?.port(), raft.local_addr()?.port());
        let http_port = http.local_addr()?.port();
        [http, client, raft].into_iter().for_each(|bound| self.keep_port(bound));
        let member = Member { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), client_port, raft_port };
        self.set_members(self.file.members.iter().chain([(id, member)]).collect());
        if self.file.http_ports.len() + 1 == self.file.members.len() {
            self.file.http_ports.push(http_port);
        }
        self.guests.insert(id);
        Ok(id)
    }

    /// The guest belongs to the cluster from now on; it is started again with what its log holds.
    ///
    /// # Errors
    /// When the cluster's file cannot be written.
    pub fn keep(&mut self, id: u64) -> io::Result<()> {
        if self.guests.remove(&id) {
            file::save(&self.dir, &self.file)?;
        }
        Ok(())
    }

    /// The guest is killed, and its directory removed. Does nothing to a node that was kept.
    ///
    /// # Errors
    /// What the system said.
    pub fn send_away(&mut self, id: u64) -> io::Result<()> {
        if !self.guests.remove(&id) {
            return Ok(());
        }
        self.kill(id)?;
        let place = self.file.members.iter().position(|(member, _)| member == id);
        if let Some(place) = place.filter(|place| *place < self.file.http_ports.len()) {
            self.file.http_ports.remove(place);
        }
        self.set_members(self.file.members.iter().filter(|(member, _)| *member != id).collect());
        match std::fs::remove_dir_all(self.node_dir(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn set_members(&mut self, members: Vec<(u64, Member)>) {
        if let Some(members) = Members::new(members) {
            self.file.members = members;
        }
    }
}
