//! The HTTP side: one path to verify a person, one to tell the simulator of residents.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State, rejection::JsonRejection},
    http::{StatusCode, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vocabulary::Nik;

use crate::resident::{Answer, Question, Resident};

/// Largest list of residents that is taken at once.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The residents the simulator knows, and the secret it wants to be shown.
#[derive(Debug, Clone, Default)]
pub struct Residents {
    by_nik: Arc<RwLock<HashMap<Nik, Resident>>>,
    /// Hash of the bearer token; `None` asks for none.
    token: Option<[u8; 32]>,
}

impl Residents {
    /// An empty registry; an empty token asks callers for none.
    #[must_use]
    pub fn new(token: &SecretString) -> Self {
        let token = token.expose_secret();
        Self { token: (!token.is_empty()).then(|| Sha256::digest(token).into()), ..Self::default() }
    }

    /// Enters residents; one whose NIK is known already is replaced.
    pub fn enter(&self, residents: impl IntoIterator<Item = Resident>) {
        let residents = residents.into_iter().map(|one| (one.nik.clone(), one));
        self.by_nik.write().unwrap_or_else(PoisonError::into_inner).extend(residents);
    }

    /// Enters the residents of a file: a JSON array.
    ///
    /// # Errors
    /// When the file cannot be read or is no list of residents.
    pub fn enter_file(&self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        // The error of the parser may repeat what it read.
        let residents: Vec<Resident> = serde_json::from_str(&text).map_err(|error| {
            anyhow::anyhow!("{} line {}: not a list of residents", path.display(), error.line())
        })?;
        self.enter(residents);
        Ok(())
    }

    fn answer(&self, question: &Question) -> Answer {
        let known = self.by_nik.read().unwrap_or_else(PoisonError::into_inner);
        question.answer(known.get(&question.nik))
    }

    fn router(self) -> Router {
        Router::new()
            .route("/v1/verifications", post(verify))
            .route("/admin/residents", put(enter).layer(DefaultBodyLimit::max(MOST_BYTES)))
            .layer(middleware::from_fn_with_state(self.clone(), admit))
            .route("/healthz", get(async || "ok"))
            .with_state(self)
    }
}

/// Serves until told to stop; calls under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    residents: Residents,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    axum::serve(listener, residents.router()).with_graceful_shutdown(stop.cancelled_owned()).await?;
    Ok(())
}

async fn admit(State(known): State<Residents>, request: Request, next: Next) -> Response {
    let shown =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    // Hashes are compared, so that the time it takes says nothing about the secret.
    let fits = match (known.token, shown) {
        (None, _) => true,
        (Some(expected), Some(shown)) => <[u8; 32]>::from(Sha256::digest(shown)) == expected,
        (Some(_), None) => false,
    };
    if fits {
        next.run(request).await
    } else {
        refusal(StatusCode::UNAUTHORIZED, "unauthorized", "show a valid bearer token")
    }
}

async fn verify(State(known): State<Residents>, question: Result<Json<Question>, JsonRejection>) -> Response {
    match question {
        Ok(Json(question)) => Json(known.answer(&question)).into_response(),
        // The rejection may repeat what was sent.
        Err(rejection) => {
            refusal(rejection.status(), "malformed", "send nik, name, birth_date and sex as documented")
        }
    }
}

/// One resident, or many.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entered {
    One(Box<Resident>),
    Many(Vec<Resident>),
}

async fn enter(State(known): State<Residents>, entered: Result<Json<Entered>, JsonRejection>) -> Response {
    let residents = match entered {
        Ok(Json(Entered::One(resident))) => vec![*resident],
        Ok(Json(Entered::Many(residents))) => residents,
        Err(rejection) => {
            return refusal(
                rejection.status(),
                "malformed",
                "send one resident, or an array of them, as documented",
            );
        }
    };
    let count = residents.len();
    tracing::info!(residents = count, "residents were entered");
    known.enter(residents);
    Json::<Value>(json!({ "residents": count })).into_response()
}

fn refusal(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    const SITI: &str =
        r#"{"nik":"3273014505900001","name":"Siti Aminah","birth_date":"1990-05-05","sex":"female"}"#;

    async fn send(router: &Router, method: &str, path: &str, token: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn who_was_told_of_is_found_and_nobody_else() {
        let router = Residents::new(&"hush".into()).router();
        let (status, answer) = send(&router, "POST", "/v1/verifications", "hush", SITI).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({"status": "not_found"})));
        let (status, answer) = send(&router, "PUT", "/admin/residents", "hush", &format!("[{SITI}]")).await;
        assert_eq!((status, answer), (StatusCode::OK, json!({"residents": 1})));
        let other = SITI.replace("1990-05-05", "1991-05-05");
        let (_, answer) = send(&router, "POST", "/v1/verifications", "hush", &other).await;
        let expected = json!({"status": "found", "name": "matches", "birth_date": "differs", "sex": "matches", "alive": true});
        assert_eq!(answer, expected);
        // Entered again, alone: the record is replaced.
        let (status, _) = send(&router, "PUT", "/admin/residents", "hush", &other).await;
        assert_eq!(status, StatusCode::OK);
        let (_, answer) = send(&router, "POST", "/v1/verifications", "hush", &other).await;
        assert_eq!(answer["birth_date"], "matches");
    }

    #[tokio::test]
    async fn the_wrong_secret_and_the_wrong_form_are_refused_without_an_echo() {
        let router = Residents::new(&"hush".into()).router();
        let (status, _) = send(&router, "POST", "/v1/verifications", "guess", SITI).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        let wrong = SITI.replace("3273014505900001", "9973014505900001");
        for (method, path, body) in
            [("POST", "/v1/verifications", wrong.clone()), ("PUT", "/admin/residents", format!("[{wrong}]"))]
        {
            let (status, answer) = send(&router, method, path, "hush", &body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(!answer.to_string().contains("45059"), "{answer}");
        }
    }
}
