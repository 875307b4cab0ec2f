//! The body of a request as it arrives from a client. It records in the connection's place that it is being waited
//! for, and is abandoned when another connection needs the place.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};

use crate::place::{Leave, Place};

/// A body of which parts may not have arrived yet.
pub struct Body {
    incoming: Incoming,
    /// `None` for a body without content, which is not waited for.
    place: Option<Arc<Place>>,
    timeout: Duration,
}

/// Why the rest of a body will not arrive.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The connection broke, or the data on it is not a valid body.
    #[error(transparent)]
    Broken(hyper::Error),
    /// A new connection got this connection's place.
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

    /// How long to wait for the body.
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
