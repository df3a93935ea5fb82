//! What a test gets: a database of its own, migrated.

use std::borrow::Cow;

use sqlx::{
    SqlSafeStr as _,
    migrate::{Migration, MigrationType, Migrator},
};

fn migrator(version: i64, sql: &'static str) -> &'static Migrator {
    let migration =
        Migration::new(version, Cow::Borrowed("test"), MigrationType::Simple, sql.into_sql_str(), false);
    Box::leak(Box::new(Migrator::with_migrations(vec![migration])))
}

#[tokio::test]
async fn each_test_has_its_own_database() {
    let chassis = migrator(1, "create table outbox (position bigint)");
    let service = migrator(1000, "create table member (name text)");
    let migrators = [chassis, service];
    let open = || embedded::testing::database("own database", &migrators);
    let (one, two) = tokio::try_join!(open(), open()).unwrap();
    assert_ne!(one.url, two.url);
    sqlx::query("insert into member values ('Siti')").execute(&one.pool).await.unwrap();
    sqlx::query("insert into outbox values (1)").execute(&one.pool).await.unwrap();
    let members: i64 = sqlx::query_scalar("select count(*) from member").fetch_one(&two.pool).await.unwrap();
    assert_eq!(members, 0);
}

#[tokio::test]
async fn many_at_once() {
    let open = || embedded::testing::empty_database("many");
    let (one, two, three, four) = tokio::try_join!(open(), open(), open(), open()).unwrap();
    for database in [&one, &two, &three, &four] {
        assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&database.pool).await.unwrap(), 1);
    }
}
