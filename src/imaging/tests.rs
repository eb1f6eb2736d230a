//! Pictures of every kind go in; the four fields, the right refusal or the recorded tensor comes out.

mod cost;
mod damage;
mod decoding;
mod foreign;
mod limits;
mod sample;
mod tensors;
