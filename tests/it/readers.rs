//! Questions that are cut off, as by a client that goes away: whoever gets their connection next sees what
//! is, not what was.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ringfence::store::{Readers, Sight, StoreError, read};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

use super::support::database;

/// Goes on with a future until it has waited so often, and drops it then.
async fn cut_off<T>(future: impl Future<Output = T>, waits: usize) -> Option<T> {
    let (mut future, mut polls) = (pin!(future), 0);
    poll_fn(|context| {
        if polls == waits {
            return Poll::Ready(None);
        }
        polls += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// Asks in a transaction of one moment, as most questions do.
async fn ask(readers: &Readers) -> Result<i64, StoreError> {
    read(readers, Sight::Nothing, async |connection| {
        let statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut transaction = connection.begin_with(statement).await?;
        let number = sqlx::query_scalar("SELECT number FROM latest").fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(number)
    })
    .await
}

/// Asks in one statement.
async fn ask_shortly(readers: &Readers) -> i64 {
    let asking = read(readers, Sight::Nothing, async |connection| {
        Ok(sqlx::query_scalar("SELECT number FROM latest").fetch_one(connection).await?)
    });
    asking.await.unwrap()
}

async fn connect(database: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(database).await.unwrap()
}

#[tokio::test]
async fn a_question_cut_off_wherever_it_waits_leaves_nobody_in_the_past() {
    let database = database().await;
    let mut writer = connect(&database).await;
    sqlx::raw_sql("CREATE TABLE latest (number bigint); INSERT INTO latest VALUES (0)")
        .execute(&mut writer)
        .await
        .unwrap();
    // One connection, so that it is always the same that is cut off and asked again.
    let readers = Readers::new(database.clone(), 1, Duration::from_secs(60));
    let mut latest = 0;
    for waits in 1.. {
        // As it is when nobody has to connect first.
        ask(&readers).await.unwrap();
        let answer = cut_off(ask(&readers), waits).await;
        // The first may be the one that fixes a moment; the second would still be in it.
        for _ in 0..2 {
            latest += 1;
            sqlx::query("UPDATE latest SET number = $1").bind(latest).execute(&mut writer).await.unwrap();
            assert_eq!(ask_shortly(&readers).await, latest, "cut off after {waits} waits");
        }
        if let Some(answer) = answer {
            assert_eq!(answer.unwrap(), latest - 2);
            assert!(waits > 1, "it was cut off while it waited");
            break;
        }
    }
    readers.close().await;
}
