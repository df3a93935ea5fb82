//! A link between two processes that is cut for ten seconds, as a partition cuts it: nobody is told. No call outlives
//! its deadline, what does not need the link goes on, and within two seconds of its healing all is as before.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use embedded::postgres::Options;
use integration_tests::{
    Mesh,
    calls::{Bearer, call_any, methods},
    mesh::{End, LinkName, Way},
};
use prost_reflect::DynamicMessage;
use serde_json::json;
use tonic::{Code, service::interceptor::InterceptedService, transport::Channel};

const CUT: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_millis(700);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(800);
const HEALED_WITHIN: Duration = Duration::from_secs(2);

/// A call, and the link that it cannot do without.
struct Line {
    link: fn(&LinkName) -> bool,
    what: &'static str,
    gateway: usize,
    caller: &'static str,
    method: &'static str,
    request: serde_json::Value,
    /// Whether the mesh answers without the link.
    goes_on: bool,
}

fn process(end: End) -> Option<&'static str> {
    match end {
        End::Process(name) => Some(name.service),
        End::Callers | End::Postgres | End::Redis => None,
    }
}

fn lines() -> Vec<Line> {
    let family = json!({
        "requestId": "cut-0000-0001",
        "terms": { "segment": "SEGMENT_PBI" },
        "members": [{
            "nik": "3273015708820001", "name": "Warga Uji", "birthDate": "1982-08-17", "sex": "SEX_FEMALE",
            "relation": "RELATION_HEAD", "regionCode": "3273", "fktpCode": "9901P999",
        }],
    });
    vec![
        Line {
            link: |link| process(link.from) == Some("gateway") && process(link.to) == Some("referral"),
            what: "gateway to referral",
            gateway: 0,
            caller: "hospital:9901R001",
            method: "jkn.referral.v1.ReferralService.ListReferrals",
            request: json!({}),
            goes_on: false,
        },
        Line {
            link: |link| {
                process(link.from) == Some("membership") && process(link.to) == Some("accreditation")
            },
            what: "membership to accreditation",
            gateway: 0,
            caller: "bpjs:pusat",
            method: "jkn.membership.v1.MembershipService.RegisterFamily",
            request: family,
            goes_on: false,
        },
        Line {
            link: |link| process(link.from) == Some("sismonev") && link.to == End::Postgres,
            what: "sismonev to PostgreSQL",
            gateway: 0,
            caller: "djsn:sekretariat",
            method: "jkn.sismonev.v1.SismonevService.GetRoadmap",
            request: json!({}),
            goes_on: false,
        },
        Line {
            link: |link| {
                link.from == End::Callers && matches!(link.to, End::Process(name) if name.replica == 2)
            },
            what: "callers to the second gateway",
            gateway: 1,
            caller: "djsn:sekretariat",
            method: "jkn.sismonev.v1.SismonevService.ListIndicators",
            request: json!({}),
            goes_on: false,
        },
        Line {
            link: |link| process(link.from) == Some("claims") && link.to == End::Redis,
            what: "claims to Redis",
            gateway: 0,
            caller: "hospital:9901R001",
            method: "jkn.claims.v1.ClaimService.ListClaims",
            request: json!({}),
            goes_on: true,
        },
    ]
}

/// A call as an institution makes it again and again.
struct Caller {
    channel: InterceptedService<Channel, Bearer>,
    method: prost_reflect::MethodDescriptor,
    request: DynamicMessage,
}

impl Caller {
    fn of(mesh: &Mesh, line: &Line) -> Self {
        let method = methods().unwrap().into_iter().find(|method| method.full_name() == line.method).unwrap();
        let request = DynamicMessage::deserialize(method.input(), line.request.clone()).unwrap();
        Self { channel: mesh.channel_to(line.gateway, line.caller).unwrap(), method, request }
    }

    /// Whether the mesh had a word of its own to say, be it a refusal; how long that took; and what it was.
    async fn answered(&self) -> (bool, Duration, String) {
        let asked = Instant::now();
        let call = call_any(self.channel.clone(), &self.method, self.request.clone(), DEADLINE);
        let unanswered = [
            Code::Unavailable,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::ResourceExhausted,
            Code::Unknown,
        ];
        let (answered, said) = match call.await {
            Ok(_) => (true, "OK".to_owned()),
            Err(status) => {
                (!unanswered.contains(&status.code()), format!("{:?}: {}", status.code(), status.message()))
            }
        };
        (answered, asked.elapsed(), said)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_outlives_its_deadline_and_all_is_well_again_at_once() {
    let mesh = Mesh::start_breakable(Options::crash_testing()).await.unwrap();
    let lines = lines();
    let callers: Vec<_> = lines.iter().map(|line| Caller::of(&mesh, line)).collect();
    for (line, caller) in lines.iter().zip(&callers) {
        integration_tests::eventually(async || caller.answered().await.0.then_some(()))
            .await
            .unwrap_or_else(|_| panic!("{} before the cut", line.what));
    }
    let cut: BTreeMap<&str, Vec<LinkName>> = lines
        .iter()
        .map(|line| (line.what, mesh.link_names().into_iter().filter(line.link).collect()))
        .collect();
    let set = |way| {
        for (what, links) in &cut {
            assert!(!links.is_empty(), "{what}");
            links.iter().for_each(|link| mesh.set_link(*link, way).unwrap());
        }
    };
    set(Way::Cut);
    let began = Instant::now();
    let during = lines.iter().zip(&callers).map(|(line, caller)| async move {
        while began.elapsed() < CUT {
            let (answered, took, said) = caller.answered().await;
            assert!(took < DEADLINE + SLACK, "{}: {took:?}", line.what);
            let after = began.elapsed();
            assert_eq!(answered, line.goes_on, "{}, {after:?} after the cut, said {said}", line.what);
        }
    });
    futures::future::join_all(during).await;
    set(Way::Open);
    let healed = Instant::now();
    let after = lines.iter().zip(&callers).map(|(line, caller)| async move {
        while !caller.answered().await.0 {
            assert!(healed.elapsed() < HEALED_WITHIN, "{} is not back", line.what);
        }
        println!("{} is back after {:?}", line.what, healed.elapsed());
    });
    futures::future::join_all(after).await;
    mesh.end().await.unwrap();
}
