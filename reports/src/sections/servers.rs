//! The servers that the rows ran against.

use harness::record::{MemberFacts, UNSEEN};

use crate::Comparison;
use crate::matrix::by_role;
use crate::table::{Cell, Head, Table};

/// The server of each row, as it answered itself.
pub(crate) fn servers(comparison: &Comparison) -> Table {
    let head = ["Server", "Version", "Settings in effect", "Origin"].map(Head::text).into();
    by_role(comparison, head, |row| {
        let Some(server) = row.records.iter().find_map(|run| run.server.as_ref()) else {
            return vec![Cell::text("none"), Cell::words(""), Cell::words(""), Cell::words("")];
        };
        let seen = server.settings.iter().filter(|(_, value)| *value != UNSEEN);
        let mut settings: Vec<String> = seen.map(|(name, value)| format!("{name} = {value}")).collect();
        let unseen = server.unseen();
        if !unseen.is_empty() {
            settings.push(format!("could not be seen: {}", unseen.join(", ")));
        }
        let members = server.members.iter().map(member);
        let origin: Vec<String> = [server.origin.clone()].into_iter().chain(members).collect();
        [&server.name, &server.version, &settings.join("; "), &origin.join("; ")]
            .map(|text| Cell::words(text))
            .into()
    })
}

/// How far a member was, and its clock.
fn member(member: &MemberFacts) -> String {
    let MemberFacts { place, role, .. } = member;
    let mut words: Vec<String> = vec![format!("{role} {place}").trim().to_owned()];
    words.extend(member.round_trip_p50_ns.map(|ns| format!("round trip {:.3} ms", ns as f64 / 1e6)));
    words.extend(member.clock.map(|clock| {
        format!("clock {:+.3} ms (± {:.3})", clock.ahead_ns as f64 / 1e6, clock.error_ns as f64 / 1e6)
    }));
    words.extend(member.failure.as_ref().map(|failure| format!("not reached: {failure}")));
    words.join(", ")
}
