//! `lockbench port`: a program in any language that takes part.

mod new;
mod test;
mod verb;

pub(super) use self::verb::Port;
