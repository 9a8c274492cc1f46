// Two machines and a switch between them, made of network namespaces; the cable of one of them can be pulled.

import { runOrThrow, run } from './process.mjs';

let networks = 0;

export class Network {
  server = { address: '10.77.0.1' };
  client = { address: '10.77.0.2' };

  /** Needs root; an error says what is not possible here. */
  static async create() {
    const network = new Network();
    const name = `stomp${process.pid}x${++networks}`;
    network.server.namespace = `${name}a`;
    network.switch = `${name}s`;
    network.client.namespace = `${name}b`;
    try {
      for (const namespace of network.#namespaces()) {
        await runOrThrow('ip', ['netns', 'add', namespace]);
        await network.#ip(namespace, 'link set lo up');
      }
      await network.#ip(network.switch, 'link add br0 type bridge');
      await network.#ip(network.switch, 'link set br0 up');
      for (const [machine, port] of [
        [network.server, 'p1'],
        [network.client, 'p2'],
      ]) {
        await network.#ip(network.switch, `link add ${port} type veth peer name eth0 netns ${machine.namespace}`);
        await network.#ip(network.switch, `link set ${port} master br0 up`);
        await network.#ip(machine.namespace, `addr add ${machine.address}/24 dev eth0`);
        await network.#ip(machine.namespace, 'link set eth0 up');
      }
      await network.#knowEachOther();
    } catch (error) {
      await network.remove();
      throw new Error(`network namespaces are needed (root, CAP_NET_ADMIN, bridge and veth): ${error.message}`);
    }
    return network;
  }

  #namespaces() {
    return [this.server.namespace, this.switch, this.client.namespace];
  }

  #ip(namespace, command) {
    return runOrThrow('ip', ['-n', namespace, ...command.split(' ')]);
  }

  /** Static neighbours: otherwise ARP would fail first and tell the server that the host is unreachable. */
  async #knowEachOther() {
    for (const [machine, other] of [
      [this.server, this.client],
      [this.client, this.server],
    ]) {
      const { stdout } = await this.#ip(other.namespace, '-o link show eth0');
      const [, ethernet] = stdout.match(/link\/ether (\S+)/);
      await this.#ip(machine.namespace, `neigh replace ${other.address} lladdr ${ethernet} dev eth0 nud permanent`);
    }
  }

  /** A command line that starts a command in the namespace of this.server or this.client. */
  inside(machine) {
    return ['ip', 'netns', 'exec', machine.namespace];
  }

  /** From now on the client's packets vanish, and those to it; the server's own link stays up. */
  pull() {
    return this.#ip(this.switch, 'link set p2 down');
  }

  plugIn() {
    return this.#ip(this.switch, 'link set p2 up');
  }

  /** The server's sockets to the client as `ss` shows them, one line each, with their timers. */
  async serverSockets(port) {
    const [command, ...args] = [...this.inside(this.server), 'ss', '-Htoan', 'sport', '=', `:${port}`, 'and', 'dst', this.client.address];
    const { stdout } = await runOrThrow(command, args);
    return stdout.split('\n').filter(Boolean);
  }

  async remove() {
    for (const namespace of this.#namespaces()) await run('ip', ['netns', 'del', namespace]);
  }
}
