//! Shapes of load: when tasks arrive. One file a shape, one line in [`SHAPES`].

mod shape;

mod burst;
mod bursts;
mod poisson;

pub use self::poisson::Poisson;
pub use self::shape::{Load, Shape, Start};

/// Every shape of load.
pub const SHAPES: &[Shape] = &[poisson::SHAPE, burst::SHAPE, bursts::SHAPE];

impl super::fields::ScenarioSpec {
    /// When tasks arrive; `None` where the fields do not go together.
    #[must_use]
    pub fn load(&self) -> Option<Box<dyn Load>> {
        SHAPES.iter().find_map(|shape| (shape.asked)(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/spec/load");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let shapes = paths.filter(|path| {
            std::fs::read_to_string(path).unwrap().contains("\npub(super) const SHAPE: Shape")
        });
        assert_eq!(shapes.count(), SHAPES.len());
    }
}
