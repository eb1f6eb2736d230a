//! The unit as its users meet it: the real program over a real socket, on a state directory of its own.

// A test that cannot go on says so by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abuse;
mod access;
mod api;
mod appliance;
mod authority;
mod browser;
mod camera;
mod clients;
mod command_line;
mod crash;
mod delegate;
mod deployment;
mod disk;
mod disk_faults;
mod drain;
mod first_start;
mod floods;
mod hostile;
mod limits;
mod lists;
mod live;
mod names;
mod oip;
mod owners;
mod page;
mod pictures;
mod power_cut;
mod proxy;
mod quickstart;
mod records;
mod reload;
mod replay;
mod road;
mod setup_checks;
mod siege;
mod small_disk;
mod stress;
mod sync;
mod tickets;
mod tls;
mod traffic;
mod unit;
mod update;
mod users;
mod waiting;
