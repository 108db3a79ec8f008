package git

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/wire/pktline"
)

// maxReportBytes bounds what an upstream says of the refs of one push.
const maxReportBytes = 4 << 20

// refusePush answers a push of which nothing runs: each ref's status, and in words what and why, as git's own servers do.
func (x *exchange) refusePush(w http.ResponseWriter, t *teller) {
	p := x.push
	var first *access.Refusal
	for _, u := range p.updates {
		if u.refused != nil && (first == nil || isAside(first)) {
			first = u.refused
		}
	}
	for _, u := range p.updates {
		if u.refused == nil { // it was let through before another was not
			u.refused = access.Refuse(first.Code, nil, "the push was refused as a whole")
			x.end(u.permit, access.Outcome{ExitCode: -1, Message: "the push was refused as a whole; nothing was sent"})
		}
	}
	if !p.reports() && !t.begun {
		x.h.Refuse(w, x.r, first)
		return
	}
	if !t.begun {
		beginAnswer(w, http.StatusOK, pushResult)
	}
	if _, err := w.Write(x.refusal(func(u *update) string { return reason(u.refused) })); err != nil {
		x.h.o.Log.Debug("a refusal did not reach its client", "operation", x.op.ID, "error", err)
	}
}

// isAside says that a refusal is only because of another's.
func isAside(why *access.Refusal) bool {
	return strings.HasPrefix(why.Message, "the push was refused as a whole")
}

// refusal is the whole answer to a push that did not run.
func (x *exchange) refusal(why func(*update) string) []byte {
	p := x.push
	var out, report buffer
	w, r := pktline.NewWriter(&out), pktline.NewWriter(&report)
	var errs []error
	errs = append(errs, r.Data([]byte("unpack ok\n")))
	for _, u := range p.updates {
		errs = append(errs, r.Data([]byte(cut("ng "+u.ref+" "+why(u), pktline.MaxPayload-1)+"\n")))
	}
	errs = append(errs, r.End(pktline.Flush))
	if !p.can(sideBand) {
		return report.b
	}
	for _, u := range p.updates {
		if u.refused == nil || isAside(u.refused) && len(p.updates) > 1 {
			continue
		}
		text := ""
		for _, l := range lines(u.refused) {
			text += l + "\n"
		}
		errs = append(errs, w.Band(pktline.Progress, []byte("gatebook: "+oneLine(u.ref)+" is not updated, and nothing else of this push:\n"+text)))
	}
	if p.reports() {
		errs = append(errs, w.Band(pktline.PackData, report.b))
	}
	errs = append(errs, w.End(pktline.Flush))
	if err := errors.Join(errs...); err != nil { // buffers take everything
		x.h.o.Log.Error("writing a refusal", "operation", x.op.ID, "error", err)
	}
	return out.b
}

func cut(s string, n int) string { return s[:min(len(s), n)] }

// readReport reads an upstream's report (gitprotocol-pack, «Report Status»), masks what it says, and keeps each ref's outcome.
func (x *exchange) readReport(b []byte, known bool) (masked []byte, count int64, err error) {
	in := pktline.NewReader(bytes.NewReader(b))
	for {
		k, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return masked, count, nil
		case err != nil:
			return nil, 0, err
		case k.Kind != pktline.Data:
			masked = append(masked, k.Raw...)
			continue
		}
		line := k.Payload
		if known {
			var text buffer
			t := x.scope.Text(&text)
			if _, err := t.Write(line); err != nil {
				return nil, 0, err
			}
			if err := t.Close(); err != nil {
				return nil, 0, err
			}
			line, count = text.b, count+t.Masked()
		}
		x.push.reported(strings.TrimSuffix(string(k.Payload), "\n"), strings.TrimSuffix(string(line), "\n"))
		if masked, err = pktline.AppendData(masked, line); err != nil {
			return nil, 0, err
		}
	}
}

// reported keeps one line of a report: which ref by what came, why not by what is shown.
func (p *push) reported(line, shown string) {
	words := strings.SplitN(line, " ", 3)
	if len(words) < 2 {
		return
	}
	for _, u := range p.updates {
		switch {
		case words[0] == "unpack" && words[1] != "ok" && u.outcome == "":
			u.outcome = shown
		case words[0] == "ok" && words[1] == u.ref:
			u.outcome = "ok"
		case words[0] == "ng" && words[1] == u.ref:
			u.outcome = shown
		}
	}
}
