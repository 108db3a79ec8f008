// Package portforward speaks the Kubernetes protocol of port-forward: over one connection any number of TCP
// connections to ports of a pod, each a pair of streams, data in both directions and error, a text from the server.
//
//	SPDY/3.1, also as a tunnel in WebSocket     the client opens the two streams of each pair, with the headers
//	  protocol portforward.k8s.io               streamType (error, data), port and requestID
//	WebSocket v4.channel.k8s.io and its base64  the query names the ports; pair i is the channels 2i (data) and 2i+1
//	  variant, or none named                    (error), each begun by the server with its port in two octets, little
//	                                            endian; nothing half-closes
//
// It guarantees that the two streams of a pair belong to one port, and that the pairs open at once are bounded. It
// does not interpret data, dials nothing, and decides nothing.
package portforward
