//! What TLS costs a pair: every variant on two servers of one kind, one of which speaks it, in turns.

use harness::servers::{Authority, Durability, Server, ServerOptions};
use lock_backends::Variant;

use crate::bare::Yardstick;
use crate::lane::{Crowd, Lane, interleave, median};
use crate::{Asked, client, close, of_pairs};

/// Rounds at each end that lie outside of the interval. At most 5 of 25 fall on one side of the median with a chance of 0.2 %, so it
/// is within the rest with 99.6 %.
const OUTSIDE: usize = 5;

/// A line a variant. The yardstick is the same client on a server without TLS.
pub(crate) async fn tls(plain: &Server, yardstick: &Yardstick, asked: &Asked) {
    let folder = tempfile::tempdir().unwrap();
    let tls = Authority::create(folder.path(), "bench").unwrap().tls().unwrap();
    let options =
        ServerOptions { durability: Durability::Memory, tls: Some(tls), ..ServerOptions::default() };
    let secured = Server::start(plain.kind(), &options).await.unwrap();
    let (rounds, _) = of_pairs();
    println!("{} {}: what TLS costs a pair, {rounds} rounds\n", plain.kind().title(), plain.version());
    println!("| | pair, µs | over TLS, µs | over TLS ÷ without |");
    println!("| --- | --: | --: | --: |");
    for variant in asked.variants(yardstick) {
        let [mut without_us, mut with_us] = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let mut turns = [(plain, &mut without_us), (&secured, &mut with_us)];
            // Who goes first changes: what drifts favours nobody.
            turns.rotate_left(round % 2);
            for (server, took_us) in turns {
                took_us.push(pair_us(variant, server).await);
            }
        }
        let mut ratios: Vec<f64> =
            with_us.iter().zip(&without_us).map(|(with, without)| with / without).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let (low, high) = (ratios[OUTSIDE], ratios[ratios.len() - 1 - OUTSIDE]);
        println!(
            "| `{}` | {:.0} | {:.0} | {:.2} ({low:.2}–{high:.2}) |",
            variant.name,
            median(without_us.into_iter()),
            median(with_us.into_iter()),
            median(ratios.into_iter())
        );
    }
    println!();
    secured.stop().await.unwrap();
}

/// Of a slice of time, after another that is not counted, on connections of its own: where the scheduler puts the process that a
/// server gives a connection decides more of a pair than TLS does.
async fn pair_us(variant: &Variant, server: &Server) -> f64 {
    let (_, slice) = of_pairs();
    let crowd = Crowd::on_distinct_keys(vec![client(variant, server, true).await]);
    let mut lanes = vec![Lane::new(variant.name, crowd)];
    interleave(&mut lanes, 1, 1, slice).await;
    let per_s = median(lanes[0].per_s().iter().copied());
    close(lanes).await;
    1e6 / per_s
}
