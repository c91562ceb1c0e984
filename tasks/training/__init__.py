"""What a training keeps beside its model: the state of an unfinished one, the losses of samples that were held out."""
