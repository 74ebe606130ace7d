//! Conformance for authors: what is asked of a program that speaks over the port, one clause after the other, on its real server.
//!
//! Programs as a clause has them (`bench`), what a clause is (`clause`), the clauses by subject, and all of them in turn (`suite`).

mod bench;
mod clause;

mod exclusion;
mod leaving;
mod loss;
mod waiting;
mod words;

mod suite;

pub use self::bench::Bench;
pub use self::clause::{Clause, Ended};
pub use self::suite::{ALL, Told, run};
