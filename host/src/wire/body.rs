//! The body of a request as it comes from a client. It notes in the connection's place that it is being waited for, and
//! is given up when the place is needed for somebody else.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use crate::place::{Leave, Place};

/// A body that may still be under way.
pub struct Body {
    incoming: Incoming,
    /// Only of one that has anything to wait for.
    place: Option<Arc<Place>>,
    timeout: Duration,
}

/// Why no more of it comes.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The connection broke, or what came on it is no body.
    #[error(transparent)]
    Broken(hyper::Error),
    /// A newcomer got the connection's place.
    #[error("the body had not come when another connection needed its place")]
    Overdue,
}

impl Body {
    /// The body of a request of the connection with this place.
    pub fn new(incoming: Incoming, place: &Arc<Place>) -> Self {
        let timeout = place.timeouts.body;
        let place = (!incoming.is_end_stream()).then(|| Arc::clone(place));
        Self { incoming, place, timeout }
    }

    /// How long it is waited for.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Gone;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Gone>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if let Some(place) = &this.place {
            match &polled {
                Poll::Pending if place.asked() == Leave::AtOnce => return Poll::Ready(Some(Err(Gone::Overdue))),
                Poll::Pending => place.awaits_body(),
                Poll::Ready(Some(Ok(_))) if !this.incoming.is_end_stream() => {}
                Poll::Ready(_) => place.has_body(),
            }
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Gone::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
