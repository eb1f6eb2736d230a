//! The unit as its users meet it: the real program over a real socket, on a state directory of its own.

mod access;
mod api;
mod command_line;
mod crash;
mod delegate;
mod drain;
mod first_start;
mod limits;
mod pictures;
mod quickstart;
mod replay;
mod unit;
