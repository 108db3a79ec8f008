package store

import "gatebook/internal/access"

// PutSession inserts a session, or keeps the earlier Started and the later Last.
func (s *Store) PutSession(x access.Session) error {
	return s.PutBatch([]access.IndexEntry{{Session: &x}})
}

// PutOperation inserts an operation that has begun or was refused, or replaces it, unless what is there has an
// outcome and r has none.
func (s *Store) PutOperation(r access.Record) error {
	return s.PutBatch([]access.IndexEntry{{Record: &r}})
}

// EndOperation gives an operation its outcome. An id that is not there is no error.
func (s *Store) EndOperation(id access.OperationID, out access.Outcome) error {
	return s.PutBatch([]access.IndexEntry{{End: &access.Ended{ID: id, Outcome: out}}})
}
