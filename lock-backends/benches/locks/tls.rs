//! What TLS costs a pair: every variant on two servers of one kind, one of which speaks it, in turns.

use harness::servers::{Authority, Durability, Server, ServerOptions};

use crate::bare::Yardstick;
use crate::lane::{Crowd, Lane, interleave, table};
use crate::{Asked, client, close, of_pairs};

/// One table a variant: without TLS first, since that is what the other is compared with.
pub(crate) async fn tls(plain: &Server, yardstick: &Yardstick, asked: &Asked) {
    let folder = tempfile::tempdir().unwrap();
    let tls = Authority::create(folder.path(), "bench").unwrap().tls().unwrap();
    let options =
        ServerOptions { durability: Durability::Memory, tls: Some(tls), ..ServerOptions::default() };
    let secured = Server::start(plain.kind(), &options).await.unwrap();
    for variant in asked.variants(yardstick) {
        let mut lanes = Vec::new();
        for (label, server) in [("plain", plain), ("over TLS", &secured)] {
            let name = format!("{}, {label}", variant.name);
            lanes.push(Lane::new(&name, Crowd::on_distinct_keys(vec![client(variant, server, true).await])));
        }
        let (rounds, each) = of_pairs();
        interleave(&mut lanes, 1, rounds, each).await;
        table(&format!("{}: what TLS costs a pair", plain.kind().title()), &lanes);
        close(lanes).await;
    }
    secured.stop().await.unwrap();
}
