package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"gatebook/internal/access"
	"gatebook/internal/api/client"
	"gatebook/internal/archive"
	"gatebook/internal/recording"
)

// reading is how verbs read recordings: from a gateway, or from a copy of its archive. What is sealed is opened here,
// with the reader's own key; the gateway has none.
type reading struct {
	connection
	archive string
}

func (r *reading) flags(cmd *cobra.Command) {
	r.connection.flags(cmd)
	cmd.Flags().StringVar(&r.Key, "key", os.Getenv("GATEBOOK_KEY"), "file with the age identity that opens recordings (GATEBOOK_KEY)")
	cmd.Flags().StringVar(&r.archive, "archive", "", "read a copy of the archive in this folder, without a gateway")
}

// identities reads the key file: age identities, a line each.
func (r *reading) identities() ([]age.Identity, error) {
	if r.Key == "" {
		return nil, nil
	}
	f, err := os.Open(r.Key)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the key that opens recordings: %w", err)}
	}
	defer f.Close()
	ids, err := age.ParseIdentities(f)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the key that opens recordings: %s: %w", r.Key, err)}
	}
	return ids, nil
}

// session gives fn all frames of a session, in order, each once.
func (r *reading) session(ctx context.Context, id access.SessionID, fn func(recording.Event) error) error {
	if err := archive.CheckSession(string(id)); err != nil {
		return usageError{fmt.Errorf("%q is not a session: %w", id, err)}
	}
	if r.archive != "" {
		ids, err := r.identities()
		if err != nil {
			return err
		}
		folder, done, err := r.openArchive()
		if err != nil {
			return err
		}
		defer done()
		return keyHint(recording.ReadSession(folder, id, fn, ids...))
	}
	x, err := r.open()
	if err != nil {
		return err
	}
	defer x.Close()
	return r.remote(ctx, x, id, fn)
}

// openArchive opens the copy of the archive. done releases it.
func (r *reading) openArchive() (*archive.Folder, func(), error) {
	folder, err := archive.OpenFolder(r.archive)
	if err != nil {
		return nil, nil, usageError{err}
	}
	return folder, func() { _ = folder.Close() }, nil // opened for reading alone
}

// remote reads what is not sealed yet first, so that nothing can move from one to the other unseen.
func (r *reading) remote(ctx context.Context, x *client.Client, id access.SessionID, fn func(recording.Event) error) error {
	ids, err := r.identities()
	if err != nil {
		return err
	}
	unsealed, err := spool(ctx, x, id)
	if err != nil {
		return err
	}
	defer unsealed.Close()
	met := map[string]bool{}
	err = recording.ReadSession(remoteArchive{ctx, x}, id, func(e recording.Event) error {
		if e.Kind == recording.KindUnit {
			met[e.ID] = true
		}
		return fn(e)
	}, ids...)
	if err != nil {
		return keyHint(err)
	}
	skip := false
	return recording.ReadFrames(unsealed, func(e recording.Event) error {
		if e.Kind == recording.KindUnit {
			skip = met[e.ID]
		}
		if skip {
			return nil
		}
		return fn(e)
	})
}

func keyHint(err error) error {
	if errors.Is(err, recording.ErrNoKey) {
		return usageError{fmt.Errorf("%w; give the auditor's key by --key or GATEBOOK_KEY", err)}
	}
	return err
}

// spool keeps the frames that are not sealed yet in a file without a name.
func spool(ctx context.Context, x *client.Client, id access.SessionID) (*os.File, error) {
	body, err := x.Stream(ctx, http.MethodGet, "sessions/"+string(id)+"/frames", nil, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	f, err := os.CreateTemp("", "gatebook-*")
	if err != nil {
		return nil, err
	}
	err = os.Remove(f.Name())
	if err == nil {
		_, err = io.Copy(f, body)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// remoteArchive is a gateway's archive. Every file that is read from it is recorded there as read.
type remoteArchive struct {
	ctx context.Context
	x   *client.Client
}

func (remoteArchive) Put(string, io.Reader) error { return errors.ErrUnsupported }

func (a remoteArchive) Open(name string) (io.ReadCloser, error) {
	b, err := a.x.Stream(a.ctx, http.MethodGet, "archive/"+name, nil, nil)
	var e *client.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return b, err
}

func (a remoteArchive) List(prefix string) ([]archive.Info, error) {
	b, err := a.x.Stream(a.ctx, http.MethodGet, "archive", url.Values{"prefix": {prefix}}, nil)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var out []archive.Info
	if err := json.NewDecoder(b).Decode(&out); err != nil {
		return nil, fmt.Errorf("reading the archive's list: %w", err)
	}
	return out, nil
}

// find gives the session and, where id is an operation's, the operation. What the index does not know, or there is no
// gateway to ask for, is looked for in the archive.
func (r *reading) find(ctx context.Context, id string) (access.SessionID, access.OperationID, error) {
	if s, op, ok := strings.Cut(id, "/"); ok {
		return access.SessionID(s), access.OperationID(op), nil
	}
	if err := archive.CheckSession(id); err != nil {
		return "", "", usageError{fmt.Errorf("%q is neither a session nor an operation: %w", id, err)}
	}
	if r.archive != "" {
		folder, done, err := r.openArchive()
		if err != nil {
			return "", "", err
		}
		defer done()
		return r.findSealed(folder, id)
	}
	x, err := r.open()
	if err != nil {
		return "", "", err
	}
	defer x.Close()
	rec, err := x.Operation(ctx, access.OperationID(id))
	var e *client.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		page, err := x.Sessions(ctx, client.Query{Session: access.SessionID(id)})
		if err != nil || len(page.Items) > 0 {
			return access.SessionID(id), "", err
		}
		return r.findSealed(remoteArchive{ctx, x}, id)
	}
	return rec.Operation.Session, rec.Operation.ID, err
}

// findSealed takes id for a session that the archive has, or for an operation somewhere in it.
func (r *reading) findSealed(a recording.Archive, id string) (access.SessionID, access.OperationID, error) {
	files, err := a.List(archive.SessionPrefix(id))
	if err != nil || len(files) > 0 {
		return access.SessionID(id), "", err
	}
	ids, err := r.identities()
	if err != nil {
		return "", "", err
	}
	session, err := recording.FindOperation(a, access.OperationID(id), ids...)
	if err == nil && session == "" {
		err = fmt.Errorf("there is no session or operation %q; what has just happened may take a moment to be found", id)
	}
	return session, access.OperationID(id), keyHint(err)
}
