//! lockbench.
fn main(){}
