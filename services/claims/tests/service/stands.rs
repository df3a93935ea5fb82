//! What was posted and what was published stands in the database, whoever asks it.

use crate::{served::Served, wishes::today};

#[tokio::test(flavor = "multi_thread")]
async fn ledger_and_audit_tables_are_not_emptied() {
    let served = Served::start().await;
    let claim = served.payable(today()).await;
    served.settled(&claim, "BNI-1", claim.approved_rupiah).await.unwrap();
    let pool = &served.database.pool;
    // A table of theirs that comes later is found here too. 32 is a trigger for TRUNCATE.
    let bare: Vec<String> = sqlx::query_scalar(
        "select tablename::text from pg_tables
         where schemaname = 'public'
           and (tablename like 'ledger%' or tablename like 'audit%' or tablename like 'recovery%'
                or tablename = 'coding_review')
           and not exists (select from pg_trigger
                           where tgrelid = tablename::regclass and tgtype & 32 = 32 and not tgisinternal)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(bare, Vec::<String>::new());
    for statement in [
        "truncate ledger_line",
        "truncate ledger_entry cascade",
        "truncate recovery cascade",
        "truncate audit_finding",
        "truncate audit_frame_row",
        "truncate audit_frame cascade",
        "truncate claim cascade",
    ] {
        let refused = sqlx::query(statement).execute(pool).await.unwrap_err();
        let sqlx::Error::Database(refused) = refused else { panic!("{statement}: {refused}") };
        assert_eq!(refused.constraint(), Some("not_emptied"), "{statement}");
    }
    let lines: i64 = sqlx::query_scalar("select count(*) from ledger_line").fetch_one(pool).await.unwrap();
    assert_eq!(lines, 4);
}
