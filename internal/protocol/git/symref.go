package git

import (
	"errors"
	"io"

	"gatebook/internal/access"
)

// aliases gives an update, of a push of which all were let through, that the host would make to another ref, which nobody has
// judged: it has the ref as a symbolic one. What a host does not tell, since it does not speak version 2 or lets nobody read,
// cannot be known; what could not be asked to its end is a refusal.
func (x *exchange) aliases(p *push) (*update, *access.Refusal) {
	first := p.updates[0]
	arguments, prefixes := []string{"symrefs"}, []string{}
	for _, u := range p.updates {
		arguments, prefixes = append(arguments, "ref-prefix "+u.ref), append(prefixes, u.ref)
	}
	body, err := command("ls-refs", p.hashBytes, arguments)
	if err != nil {
		return first, access.Refuse(access.CodeInternal, err, "the gateway failed")
	}
	var found map[string]string
	own := history{left: bounds{kept: 1, read: x.h.o.Limits.LookupBytes, asks: 1, waiting: x.h.o.Limits.LookupTime}}
	exact := &access.Git{Repository: x.repository, Service: uploadPack, Refs: prefixes}
	err = x.ask(first.permit.Context(), first.op, &own, &uploadRequest{exact: exact, verb: "list"}, body, func(src io.Reader) error {
		found, err = readSymrefs(src)
		return err
	})
	var why *access.Refusal
	switch {
	case errors.As(err, &why):
		return first, why
	case err != nil && !tellsNothing(err):
		return first, access.Refuse(access.CodeUpstream, err, "target %q did not say, to the end, whether these refs are names of others", x.op.Target.Name)
	}
	for _, u := range p.updates {
		if target, is := found[u.ref]; is {
			why := access.Refuse(access.CodeDenied, nil, "%s is another name of %s on the host, of which nothing was decided", u.ref, x.hidden(target))
			why.Advice = "Push to " + x.hidden(target) + " itself."
			return u, why
		}
	}
	return nil, nil
}
