# Sessions of Net::Stomp, which names no version and so speaks STOMP 1.0: net-stomp-session.pl <port>
# Writes the ids of its sessions, one a line; dies of what is wrong.

use strict;
use warnings;
use Net::Stomp;

my $port = shift;
my $patience = 40;

sub equal {
    my ($actual, $expected, $what) = @_;
    $_ //= '(nothing)' for $actual, $expected;
    die "$what: $actual instead of $expected\n" if $actual ne $expected;
}

sub client {
    my $client = Net::Stomp->new({ hostname => '127.0.0.1', port => $port, timeout => $patience });
    my $hello = $client->connect({ 'client-data' => '"perl"' });
    equal($hello && $hello->command, 'CONNECTED', 'answer of CONNECT');
    print $client->session_id, "\n";
    return $client;
}

sub next_of {
    my ($client) = @_;
    my $frame = $client->receive_frame({ timeout => $patience }) or die "no frame came\n";
    die $frame->as_string . "\n" if $frame->command eq 'ERROR';
    return $frame;
}

sub expect {
    my ($client, $body) = @_;
    my $frame = next_of($client);
    equal($frame->command, 'MESSAGE', 'command');
    equal($frame->body, $body, 'body');
    return $frame;
}

my ($client, $heir) = (client(), client());

$client->subscribe({ destination => '/topic/perl', ack => 'auto' });
for my $body ('plain', "two\nlines", "\0binary\xff\0") {
    $client->send({ destination => '/topic/perl', body => $body, bytes_message => 1, kind => 'test' });
    my $frame = expect($client, $body);
    equal($frame->headers->{kind}, 'test', 'a header of the sender');
    equal($frame->destination, '/topic/perl', 'destination');
}
$client->unsubscribe({ destination => '/topic/perl' });

equal($client->send_with_receipt({ destination => '/queue/perl', body => $_ }), 1, 'receipt') for 1 .. 3;
equal($client->send_transactional({ destination => '/queue/perl', body => 4 }), 1, 'transaction');

$client->subscribe({ destination => '/queue/perl', ack => 'client' });
my @frames = map { expect($client, $_) } 1 .. 4;
$client->ack({ frame => $frames[1] });    # and what was before
equal($client->send_with_receipt({ destination => '/topic/behind', body => '' }), 1, 'receipt behind the ACK');
$client->disconnect;

$heir->subscribe({ destination => '/queue/perl', ack => 'client' });
for my $body (3, 4) {
    my $frame = expect($heir, $body);
    equal($frame->headers->{redelivered}, 'true', 'redelivered');
    $heir->ack({ frame => $frame });
}
$heir->disconnect;
