package api

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/store"
)

// Book is what is kept of recordings.
type Book struct {
	// Archive gives sealed recordings, encrypted.
	Archive interface {
		Open(name string) (io.ReadCloser, error)
		List(prefix string) ([]archive.Info, error)
	}
	// Ledger is the ledger's folder: checkpoint and tiles.
	Ledger fs.FS
	// Frames writes a session's frames that are not sealed yet ("": those of all) to w, and goes on as they come
	// while follow is set.
	Frames func(ctx context.Context, w io.Writer, session access.SessionID, follow bool) error
}

// Reading is the note of somebody having read from the book.
type Reading struct {
	By      string `json:"by"` // a principal's key
	Name    string `json:"name"`
	What    string `json:"what"`
	Address string `json:"address"`
}

// read records that the caller reads from a session, before they do.
func (a *API) read(r call, session access.SessionID, what string) error {
	if err := a.o.Note(string(session), "reading", Reading{By: r.by.Key(), Name: r.by.Name, What: what, Address: r.RemoteAddr}); err != nil {
		return access.Refuse(access.CodeNotRecorded, err, "the reading could not be recorded, so it was not allowed")
	}
	return nil
}

// readFrames is read of what is not sealed yet. Nobody begins a session in the book by asking for one that is not there.
func (a *API) readFrames(r call, session access.SessionID) error {
	if session == "" {
		return a.read(r, "", "frames not sealed yet")
	}
	known, _, err := a.index(r).Sessions(r.Context(), store.SessionFilter{ID: session, Limit: 1, Now: a.o.Now()})
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return a.read(r, "", "frames not sealed yet, of session "+string(session)+", which is not known")
	}
	return a.read(r, session, "frames not sealed yet")
}

func (a *API) archiveList(_ http.ResponseWriter, r call) (any, error) {
	prefix := r.URL.Query().Get("prefix")
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 && archive.CheckName(prefix[:i]) != nil {
		return nil, malformed("prefix: %q is not the beginning of a name in the archive", prefix)
	}
	files, err := a.o.Book.Archive.List(prefix)
	return list(files), err
}

func (a *API) archiveFile(w http.ResponseWriter, r call) (any, error) {
	name := r.PathValue("name")
	session, _, _, _, ok := archive.ParseName(name)
	if !ok {
		return nil, notFound("file of the archive", name)
	}
	if err := a.read(r, access.SessionID(session), "archive file "+name); err != nil {
		return nil, err
	}
	f, err := a.o.Book.Archive.Open(name)
	if err != nil {
		return nil, notFound("file of the archive", name)
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := io.Copy(w, while{r.Context(), f}); err != nil {
		a.o.Log.Debug("a file of the archive could not be sent whole", "name", name, "error", err)
		panic(http.ErrAbortHandler) // so that the reader sees that it is not whole
	}
	return nil, nil
}

// while reads as long as its context has not ended.
type while struct {
	ctx context.Context
	io.Reader
}

func (w while) Read(b []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.Reader.Read(b)
}

// ledgerFile serves the log by the paths of C2SP tlog-tiles. It holds digests and identities, no content.
func (a *API) ledgerFile(w http.ResponseWriter, r call) (any, error) {
	name := r.PathValue("name")
	if !fs.ValidPath(name) {
		return nil, notFound("file of the ledger", name)
	}
	b, err := fs.ReadFile(a.o.Book.Ledger, name)
	if err != nil {
		return nil, notFound("file of the ledger", name)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if _, err := w.Write(b); err != nil {
		a.o.Log.Debug("a file of the ledger could not be sent whole", "name", name, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil, nil
}

// frames gives what is not sealed yet of one session, or of all.
func (a *API) frames(w http.ResponseWriter, r call) (any, error) {
	session := access.SessionID(r.PathValue("id"))
	if session != "" && archive.CheckSession(string(session)) != nil {
		return nil, notFound("session", string(session))
	}
	follow := r.URL.Query().Get("follow") == "true"
	if err := a.readFrames(r, session); err != nil {
		return nil, err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := a.o.Book.Frames(r.Context(), flushed{w}, session, follow); err != nil {
		a.o.Log.Debug("frames could not be sent whole", "session", session, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil, nil
}

// flushed sends each write at once: whoever follows a session sees it as it happens.
type flushed struct{ w http.ResponseWriter }

func (f flushed) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
