//! A replicated key-value store of three processes on openraft and hardlog, small enough to copy.
//!
//! `store` is the state, `network` what nodes and clients say to each other, `node` one node; `demo`
//! runs three of them and kills them.

mod demo;
mod network;
mod node;
mod store;

use std::{env, error::Error, net::SocketAddr, path::PathBuf};

use crate::{
    network::{Request, ask},
    store::Set,
};

const USAGE: &str = "usage:
  demo [DIR]                    run three nodes, kill them, look for what was lost
  node ID DIR ADDR,ADDR,ADDR    run node ID (1 to 3) of the cluster at these addresses
  set ADDR,ADDR,ADDR KEY VALUE  write
  get ADDR,ADDR,ADDR KEY        read";

fn addrs(list: &str) -> Result<Vec<SocketAddr>, Box<dyn Error>> {
    Ok(list.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] | ["demo"] => demo::run(&env::temp_dir().join("hardlog-openraft-demo")).await,
        ["demo", dir] => demo::run(&PathBuf::from(dir)).await,
        ["node", id, dir, list] => node::run(id.parse()?, dir, &addrs(list)?).await,
        ["set", list, key, value] => {
            let set = Set { key: (*key).to_owned(), value: (*value).to_owned() };
            Ok(ask(&addrs(list)?, Request::Set(set)).await?)
        }
        ["get", list, key] => {
            let value: Option<String> = ask(&addrs(list)?, Request::Get((*key).to_owned())).await?;
            println!("{}", value.unwrap_or_default());
            Ok(())
        }
        _ => Err(USAGE.into()),
    }
}
