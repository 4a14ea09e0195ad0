//! Answers that are written while they are read: bounded in memory and time, and whole or cut off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::around::count_bug;
use super::problem::Problem;

/// Length from which on a piece of an answer is sent, in bytes. An answer that is shorter is
/// sent whole, with its length.
const PIECE_BYTES: usize = 16 << 10;
/// Pieces of one answer that wait for the client.
const PIECES_MAX: usize = 4;

/// A piece of an answer.
enum Piece {
    /// There is more.
    Part(Bytes),
    /// There is not, and so the answer is whole.
    Last(Bytes),
}

/// The client has left.
pub(super) struct Gone;

/// Where an answer is written to.
pub(super) struct Writer {
    pieces: mpsc::Sender<Result<Piece, Problem>>,
    written: Vec<u8>,
    /// Whether a piece was sent: nobody is shown a problem any more then.
    is_begun: bool,
}

impl Writer {
    /// What was written and not sent yet.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.written
    }

    /// Sends what was written, when it is enough, and waits for a slow client.
    ///
    /// # Errors
    /// When there is no client any more.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.written.len() < PIECE_BYTES {
            return Ok(());
        }
        self.send().await
    }

    /// Sends what was written, however little it is, and waits for a slow client.
    ///
    /// # Errors
    /// When there is no client any more.
    pub(super) async fn send(&mut self) -> Result<(), Gone> {
        self.is_begun = true;
        let piece = Bytes::from(std::mem::replace(&mut self.written, Vec::with_capacity(PIECE_BYTES * 2)));
        self.pieces.send(Ok(Piece::Part(piece))).await.map_err(|_| Gone)
    }

    /// Ends the answer. One that is not ended is cut off.
    pub(super) async fn end(self) {
        let _ = self.pieces.send(Ok(Piece::Last(self.written.into()))).await;
    }

    /// Ends the answer by a problem, which is the answer when nothing was sent yet.
    pub(super) async fn fail(self, problem: Problem) {
        if self.is_begun && matches!(problem, Problem::Internal) {
            count_bug();
        }
        let _ = self.pieces.send(Err(problem)).await;
    }

    /// Waits until there is no client any more.
    pub(super) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let pieces = self.pieces.clone();
        async move { pieces.closed().await }
    }
}

/// Where an answer is read from.
pub(super) struct Reader {
    pieces: mpsc::Receiver<Result<Piece, Problem>>,
}

/// Both ends of an answer.
pub(super) fn channel() -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    (Writer { pieces: sender, written: Vec::new(), is_begun: false }, Reader { pieces: receiver })
}

impl Reader {
    /// The body of the answer, once its first piece is there.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn body(mut self) -> Result<Body, Problem> {
        match self.pieces.recv().await {
            Some(Ok(Piece::Last(whole))) => Ok(Body::from(whole)),
            Some(Ok(Piece::Part(first))) => {
                Ok(Body::new(Rest { first: Some(first), reader: self, ended: false }))
            }
            Some(Err(problem)) => Err(problem),
            None => Err(Problem::Internal),
        }
    }
}

/// The answer could not be written to its end.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be written to its end")]
struct CutOff;

/// A body that has an end only when its writer said so: else the connection is closed in the
/// middle, and the client knows that it has not everything.
struct Rest {
    first: Option<Bytes>,
    reader: Reader,
    ended: bool,
}

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.reader.pieces.poll_recv(context));
        self.ended = !matches!(piece, Some(Ok(Piece::Part(_))));
        Poll::Ready(Some(match piece {
            Some(Ok(Piece::Part(bytes) | Piece::Last(bytes))) => Ok(Frame::data(bytes)),
            Some(Err(_)) | None => Err(CutOff),
        }))
    }
}
