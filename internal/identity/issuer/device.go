package issuer

import (
	"context"
	"time"

	"github.com/zitadel/oidc/v3/pkg/op"
)

// device is a login that another device waits for.
type device struct {
	state    op.DeviceAuthorizationState
	userCode string
}

// StoreDeviceAuthorization implements op.DeviceAuthorizationStorage.
func (s *storage) StoreDeviceAuthorization(_ context.Context, clientID, deviceCode, userCode string, expires time.Time, scopes []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purge(s.now())
	if len(s.devices) >= maxPending {
		return errTooMany
	}
	for _, d := range s.devices {
		if d.userCode == plainCode(userCode) {
			return op.ErrDuplicateUserCode
		}
	}
	s.devices[deviceCode] = &device{
		userCode: plainCode(userCode),
		state:    op.DeviceAuthorizationState{ClientID: clientID, Audience: []string{ClientID}, Scopes: scopes, Expires: expires},
	}
	return nil
}

// GetDeviceAuthorizatonState implements op.DeviceAuthorizationStorage. An answer that is final is given once.
func (s *storage) GetDeviceAuthorizatonState(_ context.Context, clientID, deviceCode string) (*op.DeviceAuthorizationState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[deviceCode]
	if d == nil || d.state.ClientID != clientID {
		return nil, errNotFound
	}
	state := d.state // the library changes it
	if state.Done || state.Denied {
		delete(s.devices, deviceCode)
	}
	if state.Done && !s.now().Before(state.Expires) {
		return nil, errNotFound
	}
	return &state, nil
}

// answerDevice grants or denies the waiting device that shows userCode. An empty user denies.
func (s *storage) answerDevice(userCode, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.waiting(userCode)
	if d == nil {
		return errNotFound
	}
	if user == "" {
		d.state.Denied = true
		return nil
	}
	d.state.Done, d.state.Subject, d.state.AuthTime, d.state.AMR = true, user, s.now(), []string{"pwd"}
	return nil
}

// isWaiting reports whether a device shows userCode.
func (s *storage) isWaiting(userCode string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting(userCode) != nil
}

func (s *storage) waiting(userCode string) *device {
	for _, d := range s.devices {
		if d.userCode == plainCode(userCode) && !d.state.Done && !d.state.Denied && s.now().Before(d.state.Expires) {
			return d
		}
	}
	return nil
}
