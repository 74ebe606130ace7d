//! What a scenario would take at sizes that nobody can run: the terms that measured runs leave (`terms`, and how they are `fitted`), the
//! scenario at such a size (`sized`), what each contender would take and carry there (`foretold`), and where it stops (`limits`).

mod terms;
mod sized;
mod foretold;
mod limits;
mod fitted;

pub use self::fitted::{batch_name, fit, measured_plan};
pub use self::foretold::{Capacity, Foretold, Owners, capacity, foretell};
pub use self::limits::{Burden, burden};
pub use self::sized::{Size, sized};
pub use self::terms::{OfContender, RouteWord, Source, Term, Terms};
