//! The connection for the catalogue. It is separate, because a reload must not wait behind requests.

use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::describe;
use super::unusable::Unusable;
use crate::database::connect::target::Target;
use crate::database::grant::GrantedProcedure;
use crate::database::procedure::Procedure;
use crate::limits;

/// The connection for the catalogue, opened when it is needed.
pub(in crate::database) struct CatalogueConnection {
    target: Target,
    client: Mutex<Option<Client>>,
}

impl CatalogueConnection {
    /// For this database; not connected yet.
    pub(in crate::database) fn new(target: &Target) -> Self {
        Self { target: target.clone(), client: Mutex::new(None) }
    }

    /// Takes over a connection that was opened for something else.
    pub(in crate::database) async fn keep(&self, client: Client) {
        *self.client.lock().await = Some(client);
    }

    /// Closes the connection, unless it is in use. Returns whether there was one to close.
    pub(in crate::database) fn spare(&self) -> bool {
        self.client.try_lock().ok().and_then(|mut client| client.take()).is_some()
    }

    /// Looks up a procedure, and its batch form if it is to have one.
    ///
    /// # Errors
    /// Why it cannot be granted.
    pub(in crate::database) async fn describe(&self, granted: &GrantedProcedure) -> Result<Procedure, Unusable> {
        let unknown = |cause: String| Unusable::Unknown(granted.name.clone(), cause);
        let mut kept = self.client.lock().await;
        let client = match kept.take() {
            Some(client) if !client.is_closed() => client,
            _ => timeout(limits::CATALOGUE_TIMEOUT, self.target.connect())
                .await
                .map_err(|_| unknown("no connection in time".to_owned()))?
                .map_err(|error| unknown(error.to_string()))?,
        };
        let described = timeout(limits::CATALOGUE_TIMEOUT, describe(&client, granted)).await;
        // A connection that did not answer is dropped here.
        let described = described.map_err(|_| unknown("no answer".to_owned()))?;
        *kept = Some(client);
        described
    }
}
