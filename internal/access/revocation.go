package access

import "time"

// Revocation takes back what a credential could do, from Time on.
type Revocation struct {
	ID string `json:"id"`
	// Exactly one of Subject (a Principal.Key), Session and TokenID is set.
	Subject string    `json:"subject,omitempty"`
	Session SessionID `json:"session,omitempty"`
	TokenID string    `json:"tokenId,omitempty"`
	Reason  string    `json:"reason"`
	By      string    `json:"by"` // a Principal.Key
	Time    time.Time `json:"time"`
	// Until is when it lapses; zero: never.
	Until time.Time `json:"until,omitzero"`
}

// Covers reports whether the revocation applies to what p does in session at now.
func (r Revocation) Covers(p Principal, session SessionID, now time.Time) bool {
	if !r.Until.IsZero() && !now.Before(r.Until) {
		return false
	}
	switch {
	case r.Subject != "":
		return r.Subject == p.Key()
	case r.Session != "":
		return r.Session == session
	case r.TokenID != "":
		return r.TokenID == p.TokenID
	}
	return false
}

// Restoration takes a revocation back.
type Restoration struct {
	Revocation Revocation `json:"revocation"`
	Reason     string     `json:"reason"`
	By         string     `json:"by"` // a Principal.Key
	Time       time.Time  `json:"time"`
}
